package main

import (
	"encoding/binary"
	"flag"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// zone is a name server, at UDP and TCP port 53 of all addresses, for names that it is given as
// NAME=ADDRESS,ADDRESS…; *.NAME is for what is below a name. Each has a TXT record, too. It prints
// each name that it is asked for.
func zone(args []string) error {
	names := map[string][]netip.Addr{}
	for _, arg := range args {
		name, list, ok := strings.Cut(arg, "=")
		if !ok {
			return fmt.Errorf("%w: zone NAME=ADDRESS,ADDRESS…", errUsage)
		}
		for word := range strings.SplitSeq(list, ",") {
			a, err := netip.ParseAddr(word)
			if err != nil {
				return fmt.Errorf("%w: zone: %v", errUsage, err)
			}
			names[name] = append(names[name], a)
		}
	}
	packets, err := net.ListenUDP("udp", &net.UDPAddr{Port: 53})
	if err != nil {
		return err
	}
	streams, err := net.Listen("tcp", ":53")
	if err != nil {
		return err
	}
	fmt.Println("ready")
	failed := make(chan error, 3)
	go func() {
		buf := make([]byte, 65535)
		for {
			n, from, err := packets.ReadFromUDPAddrPort(buf)
			if err != nil {
				failed <- err
				return
			}
			if b := zoneAnswer(names, buf[:n]); b != nil {
				_, _ = packets.WriteToUDPAddrPort(b, from) // who doesn't get it asks again
			}
		}
	}()
	go func() {
		for {
			c, err := streams.Accept()
			if err != nil {
				failed <- err
				return
			}
			go func() {
				defer c.Close()
				var size [2]byte
				if _, err := io.ReadFull(c, size[:]); err != nil {
					return
				}
				q := make([]byte, binary.BigEndian.Uint16(size[:]))
				if _, err := io.ReadFull(c, q); err != nil {
					return
				}
				b := zoneAnswer(names, q)
				_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...))
			}()
		}
	}()
	go func() { failed <- sleep(nil) }()
	return <-failed
}

// zoneAnswer answers one question; nil: it is none.
func zoneAnswer(names map[string][]netip.Addr, query []byte) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil || len(m.Questions) != 1 {
		return nil
	}
	q := m.Questions[0]
	name := strings.ToLower(strings.TrimSuffix(q.Name.String(), "."))
	fmt.Println(name)
	addresses, known := names[name]
	for rest, more := name, true; !known && more; {
		if _, rest, more = strings.Cut(rest, "."); more {
			addresses, known = names["*."+rest]
		}
	}
	out := dnsmessage.Message{Header: dnsmessage.Header{ID: m.ID, Response: true, RecursionDesired: m.RecursionDesired, RecursionAvailable: true}, Questions: m.Questions}
	if !known {
		out.RCode = dnsmessage.RCodeNameError
	}
	add := func(b dnsmessage.ResourceBody) {
		out.Answers = append(out.Answers, dnsmessage.Resource{Header: dnsmessage.ResourceHeader{Name: q.Name, Class: dnsmessage.ClassINET, TTL: 60}, Body: b})
	}
	for _, a := range addresses {
		switch {
		case q.Type == dnsmessage.TypeA && a.Is4():
			add(&dnsmessage.AResource{A: a.As4()})
		case q.Type == dnsmessage.TypeAAAA && a.Is6():
			add(&dnsmessage.AAAAResource{AAAA: a.As16()})
		}
	}
	if known && q.Type == dnsmessage.TypeTXT {
		add(&dnsmessage.TXTResource{TXT: []string{"text of " + name}})
	}
	b, err := out.Pack()
	if err != nil {
		return nil
	}
	return b
}

// query asks a name server for records of a type and prints the code of the answer, and what it
// has. The answer must come from where it was asked.
func query(args []string) error {
	flags := flag.NewFlagSet("query", flag.ContinueOnError)
	kind := flags.String("type", "A", "A, AAAA, TXT or HTTPS")
	network := flags.String("network", "udp", "udp or tcp")
	timeout := flags.Duration("timeout", answerWithin, "for the answer")
	if err := flags.Parse(args); err != nil || flags.NArg() != 2 {
		return fmt.Errorf("%w: query [flags] ADDRESS:PORT NAME", errUsage)
	}
	kinds := map[string]dnsmessage.Type{"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "TXT": dnsmessage.TypeTXT, "HTTPS": 65}
	name, err := dnsmessage.NewName(flags.Arg(1) + ".")
	if err != nil || kinds[*kind] == 0 {
		return fmt.Errorf("%w: query: type %s of %s", errUsage, *kind, flags.Arg(1))
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: 4711, RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: kinds[*kind], Class: dnsmessage.ClassINET}}}
	b, err := m.Pack()
	if err != nil {
		return err
	}
	if b, err = exchange(*network, flags.Arg(0), b, *timeout); err != nil {
		return err
	}
	if err := m.Unpack(b); err != nil {
		return err
	}
	words := []string{strings.ToUpper(strings.TrimPrefix(m.RCode.String(), "RCode"))}
	for _, r := range m.Answers {
		switch b := r.Body.(type) {
		case *dnsmessage.AResource:
			words = append(words, netip.AddrFrom4(b.A).String())
		case *dnsmessage.AAAAResource:
			words = append(words, netip.AddrFrom16(b.AAAA).String())
		case *dnsmessage.TXTResource:
			words = append(words, strings.Join(b.TXT, " "))
		}
	}
	slices.Sort(words[1:])
	fmt.Println(strings.Join(words, " "))
	return nil
}
