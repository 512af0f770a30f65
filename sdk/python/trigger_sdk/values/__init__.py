"""What values are, how they are stored, and what annotations make of them.

`strict_json` reads JSON text, `forms` writes what JSON lacks, `codec` is the stored text of a value; `shapes` and
`lowering` lead from plain values to annotated ones and back, `schema` describes them.
"""
