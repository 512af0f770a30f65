"""The systems that the tasks of this folder call, behind one address."""

import json
import os
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

URL = os.environ.get("WORLD_URL", "")


class Refused(Exception):
    pass


def get(path: str) -> Any:
    return _call(Request(URL + path))


def post(path: str, body: dict[str, Any]) -> Any:
    return _call(Request(URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"}))


def _call(request: Request) -> Any:
    try:
        with urlopen(request, timeout=30) as response:
            return json.load(response)
    except HTTPError as error:
        raise Refused(error.read().decode()) from error
