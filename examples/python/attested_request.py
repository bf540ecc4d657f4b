"""Fetches a page from a server only if evidence on this very connection says which app it is.

python examples/python/attested_request.py HOST PORT APP_ID [ROOT.der COLLATERAL.json]

Without the last two, Intel's root is trusted and collateral is fetched; with them, a simulated
platform is.
"""

import http.client
import pathlib
import sys

import dstack
import dstack.ratls

host, port, app_id, *simulated = sys.argv[1:]
if simulated:
    root, collateral = (pathlib.Path(name).read_bytes() for name in simulated)
    verifier = dstack.Verifier(root=root, root_name="simulation", builtin_root=False)
    verifier.add_collateral(dstack.Collateral(collateral))
else:
    verifier = dstack.Verifier(fetch=True)
expect = dstack.Expectations(app_id=bytes.fromhex(app_id), policy=dstack.Policy())
context = dstack.ratls.client_context(verifier, expect)
connection = http.client.HTTPSConnection(host, int(port), context=context)
connection.request("GET", "/")
print(connection.getresponse().read().decode())
