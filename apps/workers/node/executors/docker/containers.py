"""Defines a task's container: the engine's own JSON, from a pure function, with every hardening option on.

Not here: starting one (`executor.py`), and the network rules that shield node and neighbours (`prepare_network`).
"""

from dataclasses import dataclass
from typing import Any

from apps.workers.node.executors.docker.answers import EngineError
from apps.workers.node.executors.docker.engine import Engine
from apps.workers.node.executors.docker.image_setup import USER_ID, WORK_FOLDER

SOCKET_FOLDER = "/trigger/socket"
NETWORK = "trigger-tasks"
NETWORK_OPTIONS = {"com.docker.network.bridge.enable_icc": "false"}

LABEL_FOLDER = "trigger-site.folder"
"""The worker's folder, held by one worker at a time: what carries this label is that worker's or a dead one's."""
LABEL_NODE = "trigger-site.node"
LABEL_WORKER = "trigger-site.worker"
LABEL_TASK = "trigger-site.task"
LABEL_DEPLOYMENT = "trigger-site.deployment"
LABEL_ATTEMPT = "trigger-site.attempt"

PIDS_MAX = 512
SHM_BYTES_MAX = 64 * 1024 * 1024
MEMORY_SHARE_OF_TMP = 4
"""Files in /tmp count towards the task's memory: a quarter leaves room for the task itself."""


@dataclass(frozen=True, slots=True)
class ContainerSpec:
    image: str
    command: list[str]
    socket_dir: str
    memory_bytes: int
    labels: dict[str, str]


def agent_command(tasks: str) -> list[str]:
    """Returns the command of the container's process 1."""
    return [
        "python3", "-I", "-m", "trigger_sdk.agent", "serve", "--socket-dir", SOCKET_FOLDER, "--tasks", tasks
    ]  # fmt: skip


def container_config(spec: ContainerSpec) -> dict[str, Any]:
    """Returns the body of `POST /containers/create`. It overrides the image's entry point, user and health check."""
    return {
        "Image": spec.image,
        "Entrypoint": spec.command[:1],
        "Cmd": spec.command[1:],
        "User": f"{USER_ID}:{USER_ID}",
        "WorkingDir": WORK_FOLDER,
        "Env": [f"HOME={WORK_FOLDER}"],
        "Healthcheck": {"Test": ["NONE"]},
        "Labels": spec.labels,
        "HostConfig": host_config(spec),
    }


def host_config(spec: ContainerSpec) -> dict[str, Any]:
    tmp_bytes = spec.memory_bytes // MEMORY_SHARE_OF_TMP
    return {
        "AutoRemove": False,  # an ended container is asked why before its removal
        "RestartPolicy": {"Name": "no"},
        "NetworkMode": NETWORK,
        "ReadonlyRootfs": True,
        "CapDrop": ["ALL"],
        "SecurityOpt": ["no-new-privileges:true"],
        "Privileged": False,
        "PidsLimit": PIDS_MAX,
        "Memory": spec.memory_bytes,
        "MemorySwap": spec.memory_bytes,
        "ShmSize": min(SHM_BYTES_MAX, tmp_bytes // 2),
        "Tmpfs": {"/tmp": f"rw,exec,nosuid,nodev,mode=1777,size={tmp_bytes}"},  # noqa: S108 - the container's own
        "LogConfig": {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false"}},
        "Mounts": [
            # The folder, not the socket: a mount of the socket itself would never show its successor.
            {"Type": "bind", "Source": spec.socket_dir, "Target": SOCKET_FOLDER, "ReadOnly": True},
            {"Type": "volume", "Target": WORK_FOLDER, "VolumeOptions": {"Labels": spec.labels}},
        ],
    }


async def prepare_network(engine: Engine) -> None:
    """Ensures the tasks' own bridge, on which containers cannot reach each other; raises EngineError.

    The firewall rules that `docs/containers.md` lists as missing belong here.
    """
    found = await engine.networks(NETWORK)
    if not found:
        try:
            await engine.create_network(NETWORK, NETWORK_OPTIONS, {"trigger-site.network": "tasks"})
        except EngineError as error:
            if error.status != 409:  # 409: another worker was faster
                raise
        found = await engine.networks(NETWORK)
    # Workers that start together may each have made one, and no container starts on an ambiguous name. They all keep
    # the same one.
    for surplus in found[1:]:
        await engine.remove_network(surplus["Id"])
    options = (found[0].get("Options") or {}) if found else {}
    if any(options.get(name) != value for name, value in NETWORK_OPTIONS.items()):
        raise EngineError(
            f"the network {NETWORK} lets containers reach each other: remove it (docker network rm {NETWORK}),"
            " and the worker creates it again"
        )
