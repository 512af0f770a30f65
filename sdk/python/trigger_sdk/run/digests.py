"""Makes keys of a fixed length from texts."""


def digest_of(text: str) -> str:
    """SHA-256 in hex."""
    # OpenSSL takes a tenth of this package's time to load, and few runs need it.
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()
