package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// Order says what is asked.
type Order struct {
	App       []string // URLs of the application, asked in turn
	AppRate   int      // requests a second, to all of them together
	API       string   // URL of the API server; empty: it is not asked
	APIRate   int      // requests a second: reads and writes in turn
	Namespace string   // where the writes go
	Object    string   // the ConfigMaps that are written are called Object-0, Object-1, …
	// PEM: the authority of the API server, and a client's certificate and key.
	CA, Certificate, Key string
}

// Tally is what became of requests of one kind: of one that failed, or of those of a second.
type Tally struct {
	Begin   time.Time
	Kind    string        // "app" or "api"
	Asked   int           `json:",omitempty"` // 0 in the line of a single failure
	Failed  int           `json:",omitempty"`
	Slowest time.Duration // of those that were answered; of a failure how long it took
	Target  string        `json:",omitempty"` // of a failure
	Error   string        `json:",omitempty"`
}

// Patience with one request. Users of an API wait longer than those of an application.
const (
	appPatience = 5 * time.Second
	apiPatience = 10 * time.Second
)

// kind is requests of one sort at one pace.
type kind struct {
	name     string
	pace     time.Duration
	patience time.Duration
	client   *http.Client
	request  func(ctx context.Context, n int) (*http.Request, error)
}

func (o Order) kinds() (kinds []kind, err error) {
	if len(o.App) > 0 && o.AppRate > 0 {
		kinds = append(kinds, kind{"app", time.Second / time.Duration(o.AppRate), appPatience, client(nil), func(ctx context.Context, n int) (*http.Request, error) {
			return http.NewRequestWithContext(ctx, http.MethodGet, o.App[n%len(o.App)], nil)
		}})
	}
	if o.API != "" && o.APIRate > 0 {
		pair, err := tls.X509KeyPair([]byte(o.Certificate), []byte(o.Key))
		if err != nil {
			return nil, fmt.Errorf("the client's certificate: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(o.CA)) {
			return nil, errors.New("the authority is no certificate")
		}
		kinds = append(kinds, kind{
			"api", time.Second / time.Duration(o.APIRate), apiPatience,
			client(&tls.Config{RootCAs: roots, Certificates: []tls.Certificate{pair}}), o.apiRequest,
		})
	}
	if len(kinds) == 0 {
		return nil, errors.New("the order asks for nothing")
	}
	return kinds, nil
}

// client opens a connection for every request.
func client(secure *tls.Config) *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: secure}}
}

// objects is over how many ConfigMaps the writes go, so that two at once do not meet in one.
const objects = 5

// apiRequest is a read, and after it a write. The write makes the object or changes it, so that it depends on none before it.
func (o Order) apiRequest(ctx context.Context, n int) (*http.Request, error) {
	all := o.API + "/api/v1/namespaces/" + o.Namespace + "/configmaps"
	if n%2 == 0 {
		return http.NewRequestWithContext(ctx, http.MethodGet, all+"?limit=1", nil)
	}
	name := fmt.Sprintf("%s-%d", o.Object, n/2%objects)
	body, err := json.Marshal(map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name, "namespace": o.Namespace},
		"data": map[string]string{"n": fmt.Sprint(n)},
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPatch, all+"/"+name+"?fieldManager=load&force=true", bytes.NewReader(body))
	if err == nil {
		req.Header.Set("Content-Type", "application/apply-patch+yaml")
	}
	return req, err
}

// ask asks until ctx ends, and then waits for what is under way.
func ask(ctx context.Context, kinds []kind, out io.Writer) error {
	var all sync.WaitGroup
	t := &teller{out: json.NewEncoder(out)}
	for _, k := range kinds {
		all.Go(func() { t.keepAsking(ctx, k) })
	}
	all.Wait()
	return t.err
}

// teller writes lines for whoever ordered the work.
type teller struct {
	mu  sync.Mutex
	out *json.Encoder
	err error
}

func (t *teller) tell(line Tally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.err = errors.Join(t.err, t.out.Encode(line))
}

// keepAsking begins a request at every tick, however long the ones before it take.
func (t *teller) keepAsking(ctx context.Context, k kind) {
	tick, second := time.NewTicker(k.pace), time.NewTicker(time.Second)
	defer tick.Stop()
	defer second.Stop()
	sum := Tally{Begin: time.Now(), Kind: k.name}
	var mu sync.Mutex
	told := func() {
		mu.Lock()
		defer mu.Unlock()
		if sum.Asked > 0 {
			t.tell(sum)
		}
		sum = Tally{Begin: time.Now(), Kind: k.name}
	}
	var underWay sync.WaitGroup
	defer told()
	defer underWay.Wait()
	for next := 0; ; {
		select {
		case <-ctx.Done():
			return
		case <-second.C:
			told()
		case <-tick.C:
			// The work's end is no failure of a request.
			asked, n := context.WithoutCancel(ctx), next
			next++
			underWay.Go(func() {
				begin := time.Now()
				target, err := k.once(asked, n)
				took := time.Since(begin)
				if err != nil {
					t.tell(Tally{Begin: begin, Kind: k.name, Slowest: took, Target: target, Error: err.Error()})
				}
				mu.Lock()
				defer mu.Unlock()
				sum.Asked++
				if err != nil {
					sum.Failed++
				} else {
					sum.Slowest = max(sum.Slowest, took)
				}
			})
		}
	}
}

// mostOfAnAnswer is how many bytes of a refusal are told.
const mostOfAnAnswer = 300

// once makes one request. An answer that is no success is an error, and so is one that ends early.
func (k kind) once(ctx context.Context, n int) (target string, err error) {
	ctx, cancel := context.WithTimeout(ctx, k.patience)
	defer cancel()
	req, err := k.request(ctx, n)
	if err != nil {
		return "", err
	}
	target = req.Method + " " + req.URL.Redacted()
	resp, err := k.client.Do(req)
	if err != nil {
		return target, err
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err == nil && resp.StatusCode/100 != 2 {
		err = fmt.Errorf("%s: %s", resp.Status, said[:min(len(said), mostOfAnAnswer)])
	}
	return target, err
}
