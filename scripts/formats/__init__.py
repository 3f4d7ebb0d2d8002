"""Files of other programs: each module writes one format from arrays and tables, and reads it back where it can.

`registry` lists the formats that can be exported; `archives` opens what comes from outside.
"""
