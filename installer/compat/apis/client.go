package apis

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/sealbuild/sealbuild/ground/count"
)

// Client asks one API server.
type Client struct {
	server string // https://HOST:PORT
	http   *http.Client
}

const (
	pagePatience = 30 * time.Second
	maxPage      = 64 << 20 // of an answer, in bytes: it is read object by object
)

// New makes a client of an API server, with the identity of a kubeconfig as kubeadm writes it: certificates inside, one of each.
func New(server string, kubeconfig []byte) (*Client, error) {
	var file struct {
		Clusters []struct {
			Cluster struct {
				Authority string `yaml:"certificate-authority-data"`
			} `yaml:"cluster"`
		} `yaml:"clusters"`
		Users []struct {
			User struct {
				Certificate string `yaml:"client-certificate-data"`
				Key         string `yaml:"client-key-data"`
			} `yaml:"user"`
		} `yaml:"users"`
	}
	if err := yaml.Unmarshal(kubeconfig, &file); err != nil {
		return nil, errors.New("the kubeconfig is no YAML") // the text of the error may hold a part of it
	}
	if len(file.Clusters) != 1 || len(file.Users) != 1 {
		return nil, fmt.Errorf("the kubeconfig has %s and %s, and one of each is read", count.Of(len(file.Clusters), "cluster"), count.Of(len(file.Users), "user"))
	}
	pem := func(text string) []byte {
		out, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			return nil // what is not there is told by who reads it
		}
		return out
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem(file.Clusters[0].Cluster.Authority)) {
		return nil, errors.New("the kubeconfig holds no certificate of an authority")
	}
	pair, err := tls.X509KeyPair(pem(file.Users[0].User.Certificate), pem(file.Users[0].User.Key))
	if err != nil {
		return nil, fmt.Errorf("the kubeconfig holds no certificate of a client: %w", err)
	}
	// It uses no proxy, whatever the environment says.
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	return &Client{server: strings.TrimSuffix(server, "/"), http: &http.Client{Transport: transport}}, nil
}

// statusError is an answer that is none.
type statusError struct {
	path string
	code int
	body []byte // the beginning
}

func (e *statusError) Error() string {
	var told struct {
		Message string `json:"message"`
	}
	_ = json.Unmarshal(e.body, &told) // it need not be one of the API's own
	return strings.TrimSuffix(fmt.Sprintf("%s: status %d: %s", e.path, e.code, told.Message), ": ")
}

// get asks for a path, and has the answer read.
func (c *Client) get(ctx context.Context, path string, query url.Values, accept string, read func(io.Reader) error) error {
	ctx, cancel := context.WithTimeoutCause(ctx, pagePatience, fmt.Errorf("%s: no answer from %s within %s", path, c.server, pagePatience))
	defer cancel()
	at := c.server + path
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return err
	}
	req.Header.Set("Accept", accept)
	resp, err := c.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(io.LimitReader(resp.Body, 64<<10))
		return &statusError{path, resp.StatusCode, body}
	}
	limited := &io.LimitedReader{R: resp.Body, N: maxPage}
	if err := read(limited); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if limited.N <= 0 {
			return fmt.Errorf("%s: the answer is longer than %d MiB", path, maxPage>>20)
		}
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// list asks for the objects of a list, some at a time, and hands each over as JSON. Objects may change meanwhile.
func (c *Client) list(ctx context.Context, path string, query url.Values, accept string, each func(*json.Decoder) error) error {
	for {
		var next string
		err := c.get(ctx, path, query, accept, func(r io.Reader) (err error) {
			next, err = readList(r, each)
			return err
		})
		if status, ok := errors.AsType[*statusError](err); ok && status.code == http.StatusGone && query.Get("continue") != "" {
			// The list is older than etcd keeps it. The answer says how to go on with one of now.
			if next, err = readList(strings.NewReader(string(status.body)), each); err == nil && next == "" {
				return status
			}
		}
		if err != nil || next == "" {
			return err
		}
		query.Set("continue", next)
	}
}

// readList reads a list object by object, and gives the word by which the next part is asked for.
func readList(r io.Reader, each func(*json.Decoder) error) (next string, err error) {
	dec := json.NewDecoder(r)
	if _, err := dec.Token(); err != nil {
		return "", err
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return "", err
		}
		switch key {
		case "metadata":
			var meta struct {
				Continue string `json:"continue"`
			}
			if err := dec.Decode(&meta); err != nil {
				return "", err
			}
			next = meta.Continue
		case "items":
			if t, err := dec.Token(); err != nil {
				return "", err
			} else if t == nil {
				continue
			}
			for dec.More() {
				if err := each(dec); err != nil {
					return "", err
				}
			}
			if _, err := dec.Token(); err != nil {
				return "", err
			}
		default:
			var passed json.RawMessage
			if err := dec.Decode(&passed); err != nil {
				return "", err
			}
		}
	}
	return next, nil
}
