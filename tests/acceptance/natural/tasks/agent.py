"""A model answers with the help of tools, turn by turn."""

import json
from enum import Enum
from typing import NotRequired, TypedDict

import world
from trigger_sdk import Retry, checkpoint, current_run, log, step, task


class Tool(str, Enum):  # noqa: UP042 - as people write it
    SEARCH = "search"
    CALCULATE = "calculate"


class Message(TypedDict):
    role: str
    content: str
    tool: NotRequired[str]


def ask_model(messages: list[Message]) -> dict:
    return world.post("/model", {"messages": messages})


def use(tool: Tool, argument: str) -> str:
    match tool:
        case Tool.SEARCH:
            return json.dumps(world.get(f"/search/{argument}"))
        case Tool.CALCULATE:
            left, right = argument.split("*")
            return str(int(left) * int(right))


@task(id="answer", retry=Retry(max_attempts=5))
def answer(question: str, history: list[Message] | None = None, turns: int = 5):
    messages: list[Message] = [*(history or []), {"role": "user", "content": question}]
    for turn in range(turns):
        reply = step(f"turn-{turn}", ask_model, messages)
        if "tool" not in reply:
            break
        tool = Tool(reply["tool"])
        log.info("uses a tool", tool=tool.value, run=current_run().id)
        result = step(f"tool-{turn}", use, tool, reply["argument"])
        messages.append({"role": "tool", "content": result, "tool": tool.value})
    checkpoint("answered", {"reply": reply, "messages": messages})

    world.post("/answers", {"question": question, "answer": reply["content"]})
    return {"answer": reply["content"], "turns": len(messages)}
