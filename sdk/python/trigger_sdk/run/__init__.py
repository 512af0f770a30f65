"""The run that a process works on: what task code and the code compiled from it ask while running.

`context` knows the one active run, `stored` what earlier attempts saved, `plan` where compiled code starts and what it
saves, `step_tries` how often a step's function is called; `attempt` runs a task from payload to output.
"""
