"""The process that runs tasks: loads a task folder once and gives each run its own child process.

`serve` speaks the protocol in `docs/protocol.md` with the node's proxy; `inspect` prints the manifest of a folder.
Nothing here knows about queues, leases or tokens: those stay in the worker.
"""
