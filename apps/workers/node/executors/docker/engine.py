"""The container engine as the worker uses it: typed calls on a few threads. The only module that imports `docker`.

It decides nothing: `containers.py` defines the containers, `images.py` the images. The library is imported on the
first connection, so that a worker without containers never pays for it.
"""

import asyncio
import contextlib
import functools
import io
import os
import socket
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from apps.workers.node.executors.docker.answers import (
    EngineAwayError,
    EngineError,
    built_image,
    innermost,
    split_reference,
)

if TYPE_CHECKING:
    from docker import APIClient

UNIX_SCHEME = "unix://"
DEFAULT_ADDRESS = "unix:///var/run/docker.sock"
CONNECT_SECONDS = 3
CALL_SECONDS = 60
BUILD_SILENCE_SECONDS = 600
"""A build step may install large packages without any output."""

GAP_SECONDS = 30.0
"""How long a call is repeated while the engine restarts; no attempt fails because of it."""
GAP_RETRY_SECONDS = 0.25

CORES = os.cpu_count() or 1
STARTS_AT_ONCE = 2 * CORES
THREADS = STARTS_AT_ONCE + 4

T = TypeVar("T")


class Engine:
    """One client of one engine. Repeatable calls are repeated while the engine is briefly away."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.address = environment.get("DOCKER_HOST") or DEFAULT_ADDRESS
        self._environment = dict(environment)
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="engine")
        self._starts = asyncio.Semaphore(STARTS_AT_ONCE)
        self._client: APIClient | None = None

    async def connect(self) -> None:
        """Connects once; raises EngineAwayError within seconds if nothing answers."""
        if self._client is None:
            await self._run(self._knock)
            self._client = await self._run(self._new_client)

    def close(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()

    async def info(self) -> dict[str, Any]:
        return await self._call(lambda client: client.info())

    # Containers. The configuration is the engine's own JSON of `POST /containers/create`.

    async def start_new(self, name: str, config: dict[str, Any]) -> str:
        """Creates and starts a container; returns its id. Only a few at once: more would make every start slower."""
        async with self._starts:
            try:
                container_id = await self._call(lambda client: _create(client, name, config))
            except EngineError as error:
                if error.status != 409:
                    raise
                container_id = await self._take_created(name, config)
            await self._call(lambda client: client.start(container_id))
            return container_id

    async def _take_created(self, name: str, config: dict[str, Any]) -> str:
        """Resolves a taken name: by our own repeated request (the first reply was lost), or by a leftover to remove."""
        found = await self.inspect(name)
        if found is not None and found["Config"]["Labels"] == config["Labels"]:
            return str(found["Id"])
        await self.remove(name)
        return await self._call(lambda client: _create(client, name, config))

    async def inspect(self, container: str) -> dict[str, Any] | None:
        return await self._found(lambda client: client.inspect_container(container))

    async def last_lines(self, container: str, count: int) -> list[str]:
        """Returns the last output of the container's process 1."""
        raw = await self._found(lambda client: client.logs(container, stdout=True, stderr=True, tail=count))
        return (raw or b"").decode(errors="replace").splitlines()

    async def remove(self, container: str) -> None:
        """Kills and removes a container with its volumes; succeeds if it is not there."""

        def work(client: "APIClient") -> None:
            client.remove_container(container, v=True, force=True)

        try:
            await self._call(work)
        except EngineError as error:
            if error.status == 409:  # it is already being removed
                return
            if error.status != 404:
                raise

    async def containers(self, label: str) -> list[dict[str, Any]]:
        """Returns all containers with the label, whatever their state."""
        return await self._call(lambda client: client.containers(all=True, filters={"label": label}))

    async def remove_volumes(self, label: str) -> None:
        """Removes the volumes with the label that no container uses."""
        found = await self._call(lambda client: client.volumes(filters={"label": label, "dangling": True}))
        for volume in found["Volumes"] or []:
            await self._found(functools.partial(_remove_volume, name=volume["Name"]))

    # Networks

    async def networks(self, name: str) -> list[dict[str, Any]]:
        """Returns all networks of exactly this name, oldest first: the engine keeps both of two made at once."""
        found = await self._call(lambda client: client.networks(names=[name]))
        return sorted((n for n in found if n["Name"] == name), key=lambda network: (network["Created"], network["Id"]))

    async def remove_network(self, network_id: str) -> None:
        """Removes a network; succeeds if it is not there, raises EngineError if it has containers."""
        await self._found(functools.partial(_remove_network, network_id=network_id))

    async def create_network(self, name: str, options: dict[str, str], labels: dict[str, str]) -> None:
        """Creates a bridge network; raises EngineError with status 409 if the name is taken."""
        await self._call(
            lambda client: client.create_network(
                name, driver="bridge", options=options, labels=labels, check_duplicate=True
            )
        )

    # Images

    async def image(self, reference: str) -> dict[str, Any] | None:
        return await self._found(lambda client: client.inspect_image(reference))  # type: ignore[no-untyped-call]

    async def is_offered(self, reference: str) -> bool:
        """Returns True if a registry says it has the image; waits for it as long as the engine does."""
        try:
            await self._in_thread(lambda client: client.inspect_distribution(reference))  # type: ignore[no-untyped-call]
        except EngineError as error:
            if error.status == 404:
                return False
            raise
        return True

    async def pull(self, reference: str) -> None:
        """Pulls an image. Canceling stops the wait, not the pull."""
        repository, tag = split_reference(reference)

        def work(client: "APIClient") -> None:
            errors = [e["error"] for e in client.pull(repository, tag, stream=True, decode=True) if "error" in e]
            if errors:
                raise EngineError(str(errors[-1]))

        await self._in_thread(work)

    async def build(
        self, context: bytes, *, build_args: dict[str, str], labels: dict[str, str], tag: str = "", network: str = ""
    ) -> str:
        """Builds a tar file's Dockerfile; returns the id. Raises BuildError. Canceling does not stop the build."""

        def work(client: "APIClient") -> str:
            stream = client.build(
                fileobj=io.BytesIO(context), custom_context=True, decode=True, rm=True, forcerm=True,
                buildargs=build_args, labels=labels, tag=tag or None, network_mode=network or None,
                timeout=BUILD_SILENCE_SECONDS,
            )  # fmt: skip
            return built_image(stream)

        return await self._in_thread(work)

    # Threads and errors

    def _knock(self) -> None:
        """Detects a missing engine without the library, which takes 7 MB and leaks a socket on failure."""
        if not self.address.startswith(UNIX_SCHEME):
            return
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(CONNECT_SECONDS)
            try:
                connection.connect(self.address.removeprefix(UNIX_SCHEME))
            except OSError as error:
                raise self._away(error) from error

    def _new_client(self) -> "APIClient":
        import docker
        from docker.utils import kwargs_from_env

        client = docker.APIClient(
            **kwargs_from_env(environment=self._environment), timeout=CONNECT_SECONDS, max_pool_size=THREADS
        )
        client.timeout = CALL_SECONDS
        client.trust_env = False  # the node's proxies are for packages, not for its engine
        return client

    async def _call(self, work: Callable[["APIClient"], T]) -> T:
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + GAP_SECONDS
        while True:
            try:
                return await self._run(lambda: work(self._connected()))
            except EngineAwayError:
                if loop.time() >= give_up_at:
                    raise
            await asyncio.sleep(GAP_RETRY_SECONDS)

    async def _found(self, work: Callable[["APIClient"], T]) -> T | None:
        try:
            return await self._call(work)
        except EngineError as error:
            if error.status == 404:
                return None
            raise

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._translated(work))

    async def _in_thread(self, work: Callable[["APIClient"], T]) -> T:
        """Runs work that takes minutes in its own thread, which does not delay the end of the program."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def settle(setter: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                setter(value)

        def run() -> None:
            outcome: tuple[Callable[[Any], None], Any]
            try:
                outcome = future.set_result, self._translated(lambda: work(self._connected()))
            except Exception as error:
                outcome = future.set_exception, error
            with contextlib.suppress(RuntimeError):  # the loop has ended, and its waiters with it
                loop.call_soon_threadsafe(settle, *outcome)

        threading.Thread(target=run, name="engine-long", daemon=True).start()
        return await future

    def _connected(self) -> "APIClient":
        if self._client is None:
            raise EngineAwayError("The engine is not connected.")
        return self._client

    def _translated(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except EngineError:
            raise
        except Exception as error:
            raise self._engine_error(error) from error

    def _engine_error(self, error: Exception) -> Exception:
        import urllib3
        from docker.errors import APIError, DockerException

        if isinstance(error, APIError):
            return EngineError(str(error.explanation or error), int(error.status_code or 0))
        if isinstance(error, DockerException | OSError | urllib3.exceptions.HTTPError):
            return self._away(error)
        return error

    def _away(self, error: Exception) -> EngineAwayError:
        return EngineAwayError(f"no container engine answers on {self.address} ({innermost(error)})")


def _create(client: "APIClient", name: str, config: dict[str, Any]) -> str:
    return str(client.create_container_from_config(config, name)["Id"])  # type: ignore[no-untyped-call]


def _remove_volume(client: "APIClient", name: str) -> None:
    client.remove_volume(name)


def _remove_network(client: "APIClient", network_id: str) -> None:
    client.remove_network(network_id)
