"""services.py DIRECTORY ADDRESS: HTTP, HTTPS and SMTP for those who come: files are there to fetch, and what is
sent is taken."""
import functools, http.server, os, socketserver, ssl, sys, threading

directory, address = sys.argv[1:]


class Files(http.server.SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def take(self):
        left = int(self.headers.get("Content-Length", 0))
        while left > 0:
            left -= len(self.rfile.read(min(left, 65536))) or left
        self.send_response(200)
        self.send_header("ETag", '"0"')
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    do_POST = do_PUT = take

    def log_message(self, *_):
        pass


class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        answer = lambda line: self.wfile.write(line + b"\r\n")
        answer(b"220 here")
        is_data = False
        for line in self.rfile:
            if is_data:
                is_data = line != b".\r\n"
                if not is_data:
                    answer(b"250 taken")
            elif line.startswith(b"EHLO"):
                answer(b"250-here\r\n250 AUTH PLAIN")
            elif line.startswith(b"AUTH"):
                answer(b"235 welcome")
            elif line.startswith(b"DATA"):
                is_data = True
                answer(b"354 go on")
            elif line.startswith(b"QUIT"):
                return answer(b"221 bye")
            else:
                answer(b"250 ok")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(f"{directory}/tls.crt", f"{directory}/tls.key")
context.load_verify_locations(f"{directory}/tls.crt")
context.verify_mode = ssl.CERT_OPTIONAL
files = functools.partial(Files, directory=f"{directory}/www")
plain, secure, mail = Server((address, 8080), files), Server((address, 8443), files), Server((address, 2525), Mail)
secure.socket = context.wrap_socket(secure.socket, server_side=True, do_handshake_on_connect=False)
for server in (plain, secure, mail):
    threading.Thread(target=server.serve_forever).start()
open(f"{directory}/up", "w").close()
