"""Makes fixed-length keys from texts."""


def digest_of(text: str) -> str:
    """SHA-256 in hex."""
    # OpenSSL takes a tenth of this package's load time, and few runs need it.
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()
