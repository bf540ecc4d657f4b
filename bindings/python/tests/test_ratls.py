"""TLS with evidence: ssl, http.client, asyncio, httpx."""

import asyncio
import http.client
import http.server
import socket
import ssl
import threading

import dstack
import dstack.ratls
import pytest


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.requests.append(self.path)
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(data):
    identity = ((data / "ratls.key").read_text(), (data / "ratls.pem").read_text())
    made = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    made.requests = []
    made.handle_error = lambda *arguments: None
    context = dstack.ratls.server_context(identity=identity)
    made.socket = context.wrap_socket(made.socket, server_side=True)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


def fetch(server, context):
    connection = http.client.HTTPSConnection("127.0.0.1", server.server_port, context=context)
    try:
        connection.request("GET", "/x")
        return connection.getresponse().read()
    finally:
        connection.close()


def test_an_attested_server_is_accepted_and_known(server, verifier, kms):
    expect = dstack.Expectations(app_id=kms["app_id"])
    context = dstack.ratls.client_context(verifier, expect, check_hostname=True)
    assert fetch(server, context) == b"hello"
    with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
        with context.wrap_socket(raw, server_hostname="localhost") as tls:
            assert tls.verified.app_id == kms["app_id"]


def test_another_app_is_refused_before_a_byte_is_sent(server, verifier):
    context = dstack.ratls.client_context(verifier, dstack.Expectations(app_id=bytes(20)))
    with pytest.raises(ssl.SSLCertVerificationError, match="app_id"):
        fetch(server, context)
    assert server.requests == []


def test_nothing_is_sent_or_read_before_the_judgement(server, verifier):
    """OpenSSL would shake hands by itself at the first read or write."""
    context = dstack.ratls.client_context(verifier, dstack.Expectations(app_id=bytes(20)))
    for use in (lambda s: s.sendall(b"GET / HTTP/1.0\r\n\r\n"), lambda s: s.recv(1),
                lambda s: s.write(b"x"), lambda s: s.recv_into(bytearray(1))):
        with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
            tls = context.wrap_socket(
                raw, server_hostname="localhost", do_handshake_on_connect=False
            )
            with tls, pytest.raises(ssl.SSLError, match="not judged"):
                use(tls)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    stream = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    for use in (lambda: stream.write(b"x"), lambda: stream.read(1)):
        with pytest.raises(ssl.SSLError, match="not judged"):
            use()
    assert outgoing.pending == 0
    assert server.requests == []


def test_another_name_is_refused(server, verifier):
    context = dstack.ratls.client_context(verifier, check_hostname=True)
    with socket.create_connection(("127.0.0.1", server.server_port)) as raw:
        with pytest.raises(ssl.SSLCertVerificationError):
            context.wrap_socket(raw, server_hostname="other.test")


def test_sec_13_an_unpinned_root_is_refused(server, data):
    plain = dstack.Verifier()
    plain.add_collateral(dstack.Collateral((data / "collateral.json").read_bytes()))
    with pytest.raises(ssl.SSLCertVerificationError):
        fetch(server, dstack.ratls.client_context(plain))
    assert server.requests == []


def test_a_server_without_evidence_is_refused(verifier):
    agent = dstack.DstackClientV1()
    made = agent.issue_cert("localhost", ["localhost"])
    identity = (made.key, "\n".join(made.certificate_chain))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        context = dstack.ratls.server_context(identity=identity)

        def serve():
            try:
                context.wrap_socket(listener.accept()[0], server_side=True).recv(1)
            except OSError:
                pass

        thread = threading.Thread(target=serve)
        thread.start()
        with socket.create_connection(listener.getsockname()) as raw:
            with pytest.raises(ssl.SSLCertVerificationError):
                dstack.ratls.client_context(verifier).wrap_socket(raw, server_hostname="localhost")
        thread.join()


def test_asyncio_streams(server, verifier, kms):
    async def main(expect):
        context = dstack.ratls.client_context(verifier, expect)
        reader, writer = await asyncio.open_connection("127.0.0.1", server.server_port, ssl=context)
        writer.write(b"GET /x HTTP/1.0\r\n\r\n")
        answer = await reader.read()
        writer.close()
        return answer

    assert asyncio.run(main(dstack.Expectations(app_id=kms["app_id"]))).endswith(b"hello")
    before = len(server.requests)
    with pytest.raises(ssl.SSLError):
        asyncio.run(main(dstack.Expectations(app_id=bytes(20))))
    assert len(server.requests) == before


def test_httpx_blocking_and_asyncio(server, verifier, kms):
    httpx = pytest.importorskip("httpx")
    url = f"https://localhost:{server.server_port}/x"
    good = dstack.ratls.client_context(verifier, dstack.Expectations(app_id=kms["app_id"]))
    bad = dstack.ratls.client_context(verifier, dstack.Expectations(app_id=bytes(20)))
    with httpx.Client(verify=good) as client:
        assert client.get(url).content == b"hello"
    with httpx.Client(verify=bad) as client, pytest.raises(httpx.ConnectError):
        client.get(url)

    async def main(context):
        async with httpx.AsyncClient(verify=context) as client:
            return (await client.get(url)).content

    assert asyncio.run(main(good)) == b"hello"
    with pytest.raises(httpx.ConnectError):
        asyncio.run(main(bad))
    assert server.requests == ["/x", "/x"]


def test_the_agent_issues_identities():
    context = dstack.ratls.server_context(agent=dstack.DstackClientV1(), subject="app.test")
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2
    with pytest.raises(ValueError):
        dstack.ratls.server_context()
    with pytest.raises(ValueError):
        dstack.ratls.server_context(agent=dstack.DstackClientV0(), client_root="x")
