#!/usr/bin/env python3
"""Writes C source that holds files.

usage: embed.py OUTPUT FILE...                    for a "page_files.h" of type page_file
       embed.py --for NAME HEADER OUTPUT FILE...  the arrays' names begin with NAME, their type is the
                                                  HEADER's page_file_content
"""
import pathlib
import sys

arguments = sys.argv[1:]
prefix, header, kind = "", "page_files.h", "page_file"
if arguments[0] == "--for":
    prefix, header, kind = arguments[1] + "_", arguments[2], "page_file_content"
    arguments = arguments[3:]
output, *files = arguments
with open(output, "w", encoding="ascii") as out:
    out.write(f'#include "{header}"\n\n')
    for number, name in enumerate(files):
        data = pathlib.Path(name).read_bytes()
        out.write(f"static const unsigned char file_{number}[] = {{\n")
        for start in range(0, len(data), 20):
            out.write("    " + ", ".join(str(byte) for byte in data[start : start + 20]) + ",\n")
        out.write("};\n\n")
    out.write(f"const {kind} {prefix}page_files[] = {{\n")
    for number, name in enumerate(files):
        base = pathlib.Path(name).name
        out.write(f'    {{"{base}", file_{number}, sizeof file_{number}}},\n')
    out.write(f"}};\nconst size_t {prefix}page_file_count =\n"
              f"    sizeof {prefix}page_files / sizeof {prefix}page_files[0];\n")
