"""Write one FOV in the file formats of other programs, one module per format, and read some of them back.

`registry` lists the formats that can be exported, `fov` holds what each of them is made of.
"""
