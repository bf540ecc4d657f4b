"""Reads an EAR token with PyJWT and the published key set: what a relying party elsewhere does.

usage: ear_pyjwt.py TOKEN_FILE JWKS_FILE; prints the claims as JSON. Exit 77: no PyJWT here.
"""

import json
import sys

try:
    import jwt
except ImportError:
    sys.exit(77)

token = open(sys.argv[1]).read()
keys = jwt.PyJWKSet.from_json(open(sys.argv[2]).read())
kid = jwt.get_unverified_header(token)["kid"]
key = next(k for k in keys.keys if k.key_id == kid)
claims = jwt.decode(token, key.key, algorithms=["ES256"], options={"require": ["iat", "exp"]})
parts = token.split(".")
forged = ".".join([parts[0], parts[1][:-4] + "AAAA", parts[2]])
try:
    jwt.decode(forged, key.key, algorithms=["ES256"])
    sys.exit("a forged token was accepted")
except jwt.InvalidTokenError:
    pass
print(json.dumps(claims))
