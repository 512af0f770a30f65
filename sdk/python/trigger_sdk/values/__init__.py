"""What values are, how they are stored, and what annotations make of them.

`strict_json` reads JSON text, `forms` writes what JSON lacks, `codec` makes the stored text of a value; `shapes` and
`lowering` turn plain values into annotated ones and back; `schema` describes them.
"""
