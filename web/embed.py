#!/usr/bin/env python3
"""Writes C source that holds files: embed.py OUTPUT FILE..."""
import pathlib
import sys

output, *files = sys.argv[1:]
with open(output, "w", encoding="ascii") as out:
    out.write('#include "page_files.h"\n\n')
    for number, name in enumerate(files):
        data = pathlib.Path(name).read_bytes()
        out.write(f"static const unsigned char file_{number}[] = {{\n")
        for start in range(0, len(data), 20):
            out.write("    " + ", ".join(str(byte) for byte in data[start : start + 20]) + ",\n")
        out.write("};\n\n")
    out.write("const page_file page_files[] = {\n")
    for number, name in enumerate(files):
        base = pathlib.Path(name).name
        out.write(f'    {{"{base}", file_{number}, sizeof file_{number}}},\n')
    out.write("};\nconst size_t page_file_count = sizeof page_files / sizeof page_files[0];\n")
