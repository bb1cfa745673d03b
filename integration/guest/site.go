package main

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

// answerWithin is how long a server may take to answer.
const answerWithin = 5 * time.Second

// site serves HTTP at port 80 and HTTPS at 443 of all addresses, for whatever name it is asked
// for, with a certificate for some names that it writes to a file. It answers "NAME at ADDRESS";
// /hold with a line each 20 ms until the client goes; /bytes?n=N with so many.
func site(args []string) error {
	if len(args) < 2 {
		return fmt.Errorf("%w: site CERTIFICATE NAME…", errUsage)
	}
	cert, err := certificate(args[0], args[1:])
	if err != nil {
		return err
	}
	failed := make(chan error, 3)
	for _, secure := range []bool{false, true} {
		l, err := net.Listen("tcp", map[bool]string{false: ":80", true: ":443"}[secure])
		if err != nil {
			return err
		}
		s := &http.Server{Handler: http.HandlerFunc(serveSite), ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
		go func() {
			if secure {
				failed <- s.ServeTLS(l, "", "")
			} else {
				failed <- s.Serve(l)
			}
		}()
	}
	fmt.Println("ready")
	go func() { failed <- sleep(nil) }()
	return <-failed
}

func serveSite(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/hold":
		for r.Context().Err() == nil {
			fmt.Fprintln(w, "here")
			w.(http.Flusher).Flush()
			time.Sleep(20 * time.Millisecond)
		}
	case "/bytes":
		n, err := strconv.ParseInt(r.URL.Query().Get("n"), 10, 64)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Length", strconv.FormatInt(n, 10))
		_, _ = io.CopyN(w, zeros{}, n) // the client counts them
	default:
		fmt.Fprintf(w, "%s at %s\n", r.Host, r.Context().Value(http.LocalAddrContextKey))
	}
}

// zeros is a reader that never ends.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// certificate makes one that signs itself, and writes it to a file.
func certificate(file string, names []string) (c tls.Certificate, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	of := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, of, of, &key.PublicKey, key)
	if err != nil {
		return c, err
	}
	err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}

// fetch gets pages with one connection after the other, or as many requests as there are -host in
// one, and prints the status and the first line of each; of those that go on each line as it comes.
func fetch(args []string) error {
	flags := flag.NewFlagSet("fetch", flag.ContinueOnError)
	at := flags.String("at", "", "ADDRESS to connect to, whatever the name has")
	trust := flags.String("trust", "", "file of the certificate")
	hosts := flags.String("host", "", "Host fields of as many requests, with commas between; empty: one, that of the URL")
	name := flags.String("name", "", "server name of TLS; - for none; empty: that of the URL")
	times := flags.Int("times", 1, "connections, one after the other; of several the median of the time is printed")
	timeout := flags.Duration("timeout", answerWithin, "until an answer begins")
	if err := flags.Parse(args); err != nil || flags.NArg() != 1 {
		return fmt.Errorf("%w: fetch [flags] URL", errUsage)
	}
	to, err := url.Parse(flags.Arg(0))
	if err != nil {
		return fmt.Errorf("%w: fetch: %v", errUsage, err)
	}
	c := &tls.Config{ServerName: *name, RootCAs: x509.NewCertPool()}
	if *trust != "" {
		b, err := os.ReadFile(*trust)
		if err != nil {
			return err
		}
		c.RootCAs.AppendCertsFromPEM(b)
	}
	if *name == "-" {
		c.ServerName, c.InsecureSkipVerify = "192.0.2.1", true // an address is not sent (RFC 6066, 3)
	}
	transport := &http.Transport{
		TLSClientConfig: c, ResponseHeaderTimeout: *timeout, TLSHandshakeTimeout: *timeout, DisableCompression: true,
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			host, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			if *at != "" {
				host = *at
			}
			return (&net.Dialer{Timeout: *timeout}).DialContext(ctx, "tcp", net.JoinHostPort(host, port))
		},
	}
	client := &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	if *times > 1 {
		return median(*times, func() error {
			defer transport.CloseIdleConnections()
			return page(client, to, to.Host, io.Discard)
		})
	}
	for _, host := range strings.Split(*hosts, ",") {
		if host == "" {
			host = to.Host
		}
		if err := page(client, to, host, os.Stdout); err != nil {
			return err
		}
	}
	return nil
}

// page gets one page, and prints its status and lines, or how many bytes it has and how long
// they took.
func page(client *http.Client, to *url.URL, host string, out io.Writer) error {
	r := &http.Request{Method: http.MethodGet, URL: to, Host: host, Header: http.Header{}}
	begun := time.Now()
	resp, err := client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if to.Path == "/bytes" {
		n, err := io.Copy(io.Discard, resp.Body)
		fmt.Fprintf(out, "%d %d bytes %d ns\n", resp.StatusCode, n, time.Since(begun))
		return err
	}
	in := bufio.NewScanner(resp.Body)
	for in.Scan() {
		fmt.Fprintln(out, resp.StatusCode, in.Text())
	}
	return in.Err()
}

// median prints the median of the times that something takes, in nanoseconds.
func median(times int, do func() error) error {
	took := make([]time.Duration, times)
	for i := range took {
		begun := time.Now()
		if err := do(); err != nil {
			return err
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	fmt.Printf("median %d ns\n", took[times/2].Nanoseconds())
	return nil
}

// exchange sends a message of DNS and reads the answer.
func exchange(network, to string, b []byte, within time.Duration) ([]byte, error) {
	c, err := net.DialTimeout(network, to, within)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(within)); err != nil {
		return nil, err
	}
	if network == "tcp" {
		b = append(binary.BigEndian.AppendUint16(nil, uint16(len(b))), b...)
	}
	if _, err := c.Write(b); err != nil {
		return nil, err
	}
	buf := make([]byte, 65535)
	if network != "tcp" {
		n, err := c.Read(buf)
		return buf[:n], err
	}
	if _, err := io.ReadFull(c, buf[:2]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint16(buf)
	_, err = io.ReadFull(c, buf[:n])
	return buf[:n], err
}
