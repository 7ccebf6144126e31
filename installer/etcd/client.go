package etcd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// Endpoint is where a master's own member answers clients.
const Endpoint = "https://127.0.0.1:2379"

// CertsDir is where kubeadm keeps etcd's certificates, among them one for clients that ask after its health.
const CertsDir = "/etc/kubernetes/pki/etcd"

// Limits of one request.
const (
	requestTimeout = 8 * time.Second // etcd itself gives up after 7 s, with the cause
	statusTimeout  = 3 * time.Second
	maxAnswer      = 1 << 20
)

// Client asks one member.
type Client struct {
	endpoint string
	http     *http.Client
	confirm  time.Duration // confirmPatience
	silence  time.Duration // snapshotPatience
}

// New makes a client of the member at an endpoint, with the certificates in a directory.
func New(endpoint, certs string) (*Client, error) {
	pem, err := os.ReadFile(filepath.Join(certs, "ca.crt"))
	if err != nil {
		return nil, fmt.Errorf("etcd's authority: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no certificate", filepath.Join(certs, "ca.crt"))
	}
	pair, err := clientPair(certs)
	if err != nil {
		return nil, fmt.Errorf("etcd's client certificate: %w", err)
	}
	// It uses no proxy, whatever the environment says.
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}},
		ForceAttemptHTTP2: true, DisableKeepAlives: true,
	}
	stay := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &Client{
		endpoint: endpoint, http: &http.Client{Transport: transport, CheckRedirect: stay}, confirm: confirmPatience, silence: snapshotPatience,
	}, nil
}

// clientPair reads the certificate that kubeadm makes for health checks of etcd or, where that is missing, the API server's.
func clientPair(certs string) (tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(filepath.Join(certs, "healthcheck-client.crt"), filepath.Join(certs, "healthcheck-client.key"))
	if err == nil {
		return pair, nil
	}
	above := filepath.Dir(certs)
	pair, other := tls.LoadX509KeyPair(filepath.Join(above, "apiserver-etcd-client.crt"), filepath.Join(above, "apiserver-etcd-client.key"))
	if other != nil {
		return pair, errors.Join(err, other)
	}
	return pair, nil
}

// Cluster lists the members, as this member knows them, and asks each for its state. It needs no majority.
func (c *Client) Cluster(ctx context.Context) (Cluster, error) {
	members, err := c.members(ctx, `{}`)
	if err != nil {
		return Cluster{}, err
	}
	out := Cluster{Members: members}
	leaders := make([]bool, len(members))
	var wg sync.WaitGroup
	for i := range members {
		wg.Go(func() { leaders[i] = c.state(ctx, &out.Members[i]) })
	}
	wg.Wait()
	out.Leader = slices.Contains(leaders, true)
	out.Version = c.version(ctx)
	return out, nil
}

// Own lists the members, as the member at the endpoint knows them, and asks that one alone for its state: so others that hang
// cost no time. It needs no majority.
func (c *Client) Own(ctx context.Context) (Cluster, error) {
	members, err := c.members(ctx, `{}`)
	if err != nil {
		return Cluster{}, err
	}
	body, err := c.post(ctx, c.endpoint, "/v3/maintenance/status", `{}`, statusTimeout)
	if err != nil {
		return Cluster{}, err
	}
	out := Cluster{Members: members}
	var state Member
	if out.Leader, err = decodeState(body, &state); err != nil {
		return Cluster{}, err
	}
	id, err := decodeOwn(body)
	if err != nil {
		return Cluster{}, err
	}
	for i := range out.Members {
		if m := &out.Members[i]; m.ID == id {
			state.ID, state.Name, state.PeerURLs, state.ClientURLs, state.Learner, state.Answers = m.ID, m.Name, m.PeerURLs, m.ClientURLs, m.Learner, true
			*m = state
		}
	}
	return out, nil
}

func (c *Client) members(ctx context.Context, request string) ([]Member, error) {
	body, err := c.post(ctx, c.endpoint, "/v3/cluster/member/list", request, requestTimeout)
	if err != nil {
		return nil, err
	}
	return decodeMembers(body)
}

// state asks a member for its state and tells whether it has a leader.
func (c *Client) state(ctx context.Context, m *Member) (leader bool) {
	if !m.Started() || len(m.ClientURLs) == 0 {
		m.Error = "it was never started"
		return false
	}
	for _, at := range m.ClientURLs {
		body, err := c.post(ctx, strings.TrimSuffix(at, "/"), "/v3/maintenance/status", `{}`, statusTimeout)
		if err == nil {
			leader, err = decodeState(body, m)
		}
		if err == nil {
			m.Answers, m.Error = true, ""
			return leader
		}
		m.Error = err.Error()
	}
	return false
}

// Remove removes the members of a host from the cluster. No such member is no error: an earlier call may have removed it.
func (c *Client) Remove(ctx context.Context, ip string) error {
	// Confirmed by a majority: the list of a member that is behind may lack the one to remove.
	members, err := c.members(ctx, `{"linearizable":true}`)
	if err != nil {
		return err
	}
	for _, m := range members {
		if !m.At(ip) {
			continue
		}
		c.moveLeader(ctx, m, members)
		q, err := json.Marshal(map[string]string{"ID": m.ID})
		if err != nil {
			return err
		}
		if _, err := c.post(ctx, c.endpoint, "/v3/cluster/member/remove", string(q), requestTimeout); err != nil {
			return fmt.Errorf("remove member %s of %s: %w", m.ID, ip, err)
		}
	}
	return nil
}

func (c *Client) post(ctx context.Context, endpoint, path, body string, patience time.Duration) ([]byte, error) {
	return c.ask(ctx, http.MethodPost, endpoint, path, body, patience)
}

func (c *Client) ask(ctx context.Context, method, endpoint, path, body string, patience time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("no answer from %s within %s", endpoint, patience))
	defer cancel()
	resp, err := c.send(ctx, method, endpoint, path, body)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the answer of %s: %w", endpoint, err)
	case len(data) > maxAnswer:
		return nil, fmt.Errorf("the answer of %s is longer than %d bytes", endpoint, maxAnswer)
	case resp.StatusCode != http.StatusOK:
		return nil, refusal(endpoint, resp, data)
	}
	return data, nil
}

func (c *Client) send(ctx context.Context, method, endpoint, path, body string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, endpoint+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil && ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return resp, err
}

func refusal(endpoint string, resp *http.Response, data []byte) error {
	return fmt.Errorf("etcd at %s: %s", endpoint, decodeRefusal(resp.Status, data))
}
