"""An agent: it asks a model what to do, uses the tools it names, and asks again, until there is an answer.

Each turn of the model and each use of a tool is a step. After a crash the loop runs again from the top, gets every
finished turn from what is stored, and continues where it was: nothing is paid for twice.
"""

import asyncio
from typing import Any

from model import Decision, Message, Model, ToolCall
from tools import DOCUMENTS, Tools
from trigger_sdk import AbortRun, Retry, checkpoint, idempotency_key, log, step, task

MAX_TURNS = 6
model = Model()
tools = Tools(DOCUMENTS)


@task(id="answer-question", retry=Retry(max_attempts=4, initial=2, factor=2, max=30), max_duration=120)
async def answer_question(question: str, fail_at_turn: int | None = None) -> dict[str, Any]:
    transcript: list[Message] = [Message("user", question)]
    answer: str | None = None
    cost_cents = 0
    for turn in range(1, MAX_TURNS + 1):
        key = idempotency_key(f"turn-{turn}")
        decision = await step(f"turn-{turn}", model.decide, transcript, key, retry=Retry(max_attempts=3), timeout=20)
        log.info(decision.thought, turn=turn, cost_cents=decision.cost_cents)
        cost_cents += decision.cost_cents
        answer = decision.answer
        if answer is not None:
            break
        transcript += await use_tools(turn, decision, is_failing=turn == fail_at_turn)
    if answer is None:
        raise AbortRun(f"no answer after {MAX_TURNS} turns, for {cost_cents} cents")
    await checkpoint("answered", {"answer": answer, "cost_cents": cost_cents, "transcript": transcript})

    sources = sorted({message.text[1:].partition("]")[0] for message in transcript if message.text.startswith("[")})
    log.info("answered", answer=answer, sources=sources)
    return {"answer": answer, "sources": sources, "cost_cents": cost_cents}


async def use_tools(turn: int, decision: Decision, *, is_failing: bool) -> list[Message]:
    """What the model asked for, all at once; a tool that fails has its last word with the first of them."""

    async def use(number: int, call: ToolCall) -> Message:
        text = await step(
            f"turn-{turn}-{call.tool}-{number}",
            tools.use,
            call.tool,
            call.argument,
            is_failing=is_failing and number == 1,
            retry=Retry(max_attempts=2, initial=0.5),
            timeout=5,
        )
        return Message("tool", text, call)

    return await asyncio.gather(*(use(number, call) for number, call in enumerate(decision.calls, 1)))
