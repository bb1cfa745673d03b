package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// depot is where programs get programs from, at ports 80 and 443 of all addresses, for whatever
// name it is asked for: a repository of git, a registry of npm, an index of Python packages whose
// files are at another name (FILES), a proxy of Go modules, and a repository of apt. Each has one
// thing, called hello. Below /moved/ all of it is redirected to ELSEWHERE.
//
// Its certificate is for the NAMEs, and signed by an authority of its own, whose certificate it
// writes to the file AUTHORITY.
func depot(args []string) error {
	if len(args) < 4 {
		return fmt.Errorf("%w: depot AUTHORITY FILES ELSEWHERE NAME…", errUsage)
	}
	cert, err := signed(args[0], args[3:])
	if err != nil {
		return err
	}
	h, err := newShelves(args[1])
	if err != nil {
		return err
	}
	h.HandleFunc("/moved/", func(w http.ResponseWriter, r *http.Request) {
		to := *r.URL
		to.Scheme, to.Host, to.Path = "https", args[2], strings.TrimPrefix(r.URL.Path, "/moved")
		if r.TLS == nil {
			to.Scheme = "http"
		}
		http.Redirect(w, r, to.String(), http.StatusFound)
	})
	failed := make(chan error, 3)
	for _, secure := range []bool{false, true} {
		l, err := net.Listen("tcp", map[bool]string{false: ":80", true: ":443"}[secure])
		if err != nil {
			return err
		}
		s := &http.Server{Handler: h, ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}}
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

// signed makes an authority, writes its certificate to a file, and has it sign one for some names.
func signed(file string, names []string) (c tls.Certificate, err error) {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		return c, err
	}
	since, until := time.Now().Add(-time.Hour), time.Now().Add(24*time.Hour)
	authority := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "authority of " + names[0]}, NotBefore: since, NotAfter: until,
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	site := &x509.Certificate{
		SerialNumber: new(big.Int).Add(serial, big.NewInt(1)), Subject: pkix.Name{CommonName: names[0]}, DNSNames: names, NotBefore: since, NotAfter: until,
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	signer, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return c, err
	}
	top, err := x509.CreateCertificate(rand.Reader, authority, authority, &signer.PublicKey, signer)
	if err != nil {
		return c, err
	}
	if authority, err = x509.ParseCertificate(top); err != nil { // with the identifier of its key
		return c, err
	}
	leaf, err := x509.CreateCertificate(rand.Reader, site, authority, &key.PublicKey, signer)
	if err != nil {
		return c, err
	}
	err = os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: top}), 0o644)
	return tls.Certificate{Certificate: [][]byte{leaf}, PrivateKey: key}, err
}
