"""A video is probed, transcoded and described."""

import json
import logging
import subprocess
from pathlib import Path

from trigger_sdk import checkpoint, task

logger = logging.getLogger(__name__)


@task(id="transcode", max_duration=3600)
def transcode(source: Path, folder: Path, width: int = 640):
    probe = subprocess.run(["ffprobe", str(source)], capture_output=True, text=True, check=True)
    streams = json.loads(probe.stdout)["streams"]
    checkpoint("probed", {"streams": streams})

    target = folder / f"{source.stem}-{width}.mp4"
    subprocess.run(["ffmpeg", "-i", str(source), "-vf", f"scale={width}:-1", str(target)], check=True)
    checkpoint("transcoded", {"target": target})

    size = target.stat().st_size
    logger.info("%s has %d bytes", target.name, size)
    return {"file": str(target), "bytes": size, "codecs": [stream["codec"] for stream in streams]}
