package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/sealbuild/sealbuild/test/etcdtest"
)

// server answers as etcd does, to clients with a certificate of its authority only.
func server(t *testing.T, handle http.HandlerFunc) (endpoint, certs string) {
	t.Helper()
	certs = etcdtest.Certs(t)
	s := httptest.NewUnstartedServer(handle)
	s.TLS = etcdtest.ServerTLS(t, certs)
	s.Config.ErrorLog = nil
	s.StartTLS()
	t.Cleanup(s.Close)
	return s.URL, certs
}

func client(t *testing.T, endpoint, certs string) *Client {
	t.Helper()
	c, err := New(endpoint, certs)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMembersAreListedWithTheirStates(t *testing.T) {
	var self string
	endpoint, certs := server(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/v3/cluster/member/list":
			fmt.Fprintf(w, `{"header":{"member_id":"9372538179322589801"},"members":[
				{"ID":"9372538179322589801","name":"one","peerURLs":["https://10.0.0.2:2380"],"clientURLs":[%q]},
				{"ID":"2","name":"two","peerURLs":["https://10.0.0.3:2380"],"clientURLs":["https://127.0.0.1:1"]},
				{"ID":"3","peerURLs":["https://10.0.0.4:2380"],"isLearner":true}]}`, self)
		case "/v3/maintenance/status":
			fmt.Fprint(w, `{"header":{"member_id":"9372538179322589801","revision":"70"},"leader":"9372538179322589801","raftTerm":"4","version":"3.6.8",
				"raftIndex":"12","raftAppliedIndex":"11",
				"dbSize":"1720000000","dbSizeInUse":"900","dbSizeQuota":"2147483648","errors":["etcdserver: odd","memberID:2 alarm:NOSPACE "]}`)
		case "/version":
			fmt.Fprint(w, `{"etcdserver":"3.6.8","etcdcluster":"3.6.0","storage":"3.6.0"}`)
		default:
			http.NotFound(w, r)
		}
	})
	self = endpoint
	got, err := client(t, endpoint, certs).Cluster(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got.Members[1].Error, "refused") {
		t.Errorf("of a member that is down: %q", got.Members[1].Error)
	}
	got.Members[1].Error = ""
	want := Cluster{Leader: true, Version: "3.6.0", Members: []Member{
		{
			ID: "9372538179322589801", Name: "one", PeerURLs: []string{"https://10.0.0.2:2380"}, ClientURLs: []string{endpoint}, Answers: true, Leads: true,
			Version: "3.6.8", Size: 1_720_000_000, InUse: 900, Quota: 2 << 30, Alarms: []string{"NOSPACE"},
			Follows: "9372538179322589801", Committed: 12, Applied: 11, Revision: 70,
		},
		{ID: "2", Name: "two", PeerURLs: []string{"https://10.0.0.3:2380"}, ClientURLs: []string{"https://127.0.0.1:1"}},
		{ID: "3", PeerURLs: []string{"https://10.0.0.4:2380"}, Learner: true, Error: "it was never started"},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if all, answer := got.Voters(); all != 2 || answer != 1 {
		t.Errorf("voters %d, of which %d answer", all, answer)
	}
	own, err := client(t, endpoint, certs).Own(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want.Members[2].Error, want.Version = "", "" // the others are not asked
	if diff := cmp.Diff(want, own); diff != "" {
		t.Errorf("of the member itself (-want +got):\n%s", diff)
	}
}

func TestAMemberWithoutAQuotaTellsItsStateAllTheSame(t *testing.T) {
	var m Member
	led, err := decodeState([]byte(`{"header":{"member_id":"7"},"leader":"8","dbSize":"5","dbSizeQuota":"-1"}`), &m)
	if diff := cmp.Diff(Member{Size: 5, Quota: -1, Follows: "8"}, m); diff != "" || !led || err != nil {
		t.Errorf("led %t, %v\n%s", led, err, diff)
	}
}

func TestAMemberIsRemovedByItsPeerAddressWithAMajorityBehindTheList(t *testing.T) {
	var asked, removed []string
	endpoint, certs := server(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if r.URL.Path == "/v3/cluster/member/remove" {
			removed = append(removed, string(body))
			fmt.Fprint(w, `{}`)
			return
		}
		asked = append(asked, string(body))
		fmt.Fprint(w, `{"members":[{"ID":"18446744073709551615","name":"one","peerURLs":["https://10.0.0.2:2380"]},{"ID":"7","peerURLs":["https://10.0.0.21:2380"]}]}`)
	})
	c := client(t, endpoint, certs)
	for _, ip := range []string{"10.0.0.21", "10.0.0.1"} { // the second is nobody's
		if err := c.Remove(t.Context(), ip); err != nil {
			t.Error(err)
		}
	}
	if diff := cmp.Diff([]string{`{"ID":"7"}`}, removed); diff != "" {
		t.Errorf("removed:\n%s", diff)
	}
	if diff := cmp.Diff([]string{`{"linearizable":true}`, `{"linearizable":true}`}, asked); diff != "" {
		t.Errorf("asked:\n%s", diff)
	}
}

func TestWhatEtcdRefusesIsTold(t *testing.T) {
	for answer, want := range map[string]string{
		`{"error":"etcdserver: unhealthy cluster","code":14,"message":"etcdserver: unhealthy cluster"}`: "etcdserver: unhealthy cluster",
		`no JSON`: "503 Service Unavailable",
	} {
		endpoint, certs := server(t, func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(http.StatusServiceUnavailable)
			fmt.Fprint(w, answer)
		})
		if err := client(t, endpoint, certs).Remove(t.Context(), "10.0.0.2"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", answer, err)
		}
	}
}

func TestAnEndlessOrSilentAnswerEnds(t *testing.T) {
	endpoint, certs := server(t, func(w http.ResponseWriter, _ *http.Request) {
		chunk := []byte(strings.Repeat(" ", 64<<10))
		for range 1 + maxAnswer/len(chunk) {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if _, err := client(t, endpoint, certs).Cluster(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("endless: %v", err)
	}
	released := make(chan struct{})
	endpoint, certs = server(t, func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-released:
		case <-r.Context().Done():
		}
	})
	defer close(released)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client(t, endpoint, certs).Cluster(ctx); err == nil {
		t.Error("silent: no error")
	}
}

func FuzzDecodeMembers(f *testing.F) {
	f.Add([]byte(`{"members":[{"ID":"1","name":"a","peerURLs":["https://10.0.0.2:2380"],"clientURLs":["https://10.0.0.2:2379"]}]}`))
	f.Add([]byte(`{"members":[{"ID":7,"peerURLs":["https://[fd00::1]:2380"],"isLearner":true}]}`))
	f.Add([]byte(`{"members":[{"ID":"-1","peerURLs":["::"]}]}`))
	f.Add([]byte(`{"leader":"0","members":null}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := decodeMembers(data)
		if err == nil {
			for _, m := range members {
				if m.ID == "" || m.Host() == "" {
					t.Fatalf("%+v", m)
				}
				m.At("10.0.0.2")
			}
			again, err := json.Marshal(Cluster{Members: members})
			if err != nil {
				t.Fatal(err)
			}
			var c Cluster
			if err := json.Unmarshal(again, &c); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := decodeState(data, new(Member)); err == nil {
			decodeRefusal("", data)
		}
	})
}
