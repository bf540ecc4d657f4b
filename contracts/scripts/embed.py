#!/usr/bin/env python3
"""Writes C source with the deployment code of committed artifacts:  embed.py OUT.c ARTIFACT.json..."""
import json
import sys

out = ['/* Made from contracts/artifacts by contracts/scripts/embed.py. */', '#include "contract_code.h"', ""]
rows = []
for path in sys.argv[2:]:
    with open(path) as file:
        artifact = json.load(file)
    name, code = artifact["contract"], bytes.fromhex(artifact["bytecode"])
    out.append(f"static const uint8_t code_{name}[{len(code)}] = {{")
    out += ["    " + "".join(f"{byte}," for byte in code[at : at + 24]) for at in range(0, len(code), 24)]
    out += ["};", ""]
    rows.append(f'    {{"{name}", {{code_{name}, sizeof code_{name}}}}},')
out += ["const struct contract_code contract_codes[] = {"] + rows + ["    {0},", "};", ""]
with open(sys.argv[1], "w") as file:
    file.write("\n".join(out))
