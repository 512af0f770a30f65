"""The run that a process works on: what task code and the code compiled from it ask while it runs.

`context` knows the one active run, `stored` what earlier attempts saved, `plan` where compiled code starts and what it
saves, `tries` how often the function of a step is called, `attempt` runs a task from payload to output.
"""
