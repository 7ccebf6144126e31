package certs

import (
	"crypto/x509"
	"encoding/pem"
	"slices"
	"strings"
	"time"
)

// Info is what a certificate of a host says.
type Info struct {
	Path    string    `json:"path"` // as given to Describe
	Subject string    `json:"subject"`
	Issuer  string    `json:"issuer"`
	Names   []string  `json:"names,omitempty"` // DNS names and addresses it is for
	CA      bool      `json:"ca"`
	Begins  time.Time `json:"notBefore"`
	Ends    time.Time `json:"notAfter"`
}

// Describe reads the first certificate of a PEM file, or the client certificate
// of a kubeconfig (*.conf). It reports false when there is none.
func Describe(path string, content []byte) (Info, bool) {
	if strings.HasSuffix(path, ".conf") {
		content, _ = clientOf(content)
	}
	for {
		var block *pem.Block
		if block, content = pem.Decode(content); block == nil {
			return Info{}, false
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return Info{}, false
		}
		names := slices.Clone(c.DNSNames)
		for _, ip := range c.IPAddresses {
			names = append(names, ip.String())
		}
		return Info{
			Path: path, Subject: c.Subject.CommonName, Issuer: c.Issuer.CommonName, Names: names, CA: c.IsCA,
			Begins: c.NotBefore, Ends: c.NotAfter,
		}, true
	}
}
