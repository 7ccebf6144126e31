package main

import (
	"context"
	"log"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/distribution/reference"
)

// registry is the cluster's registry, which knows images without the domain
// they came from.
type registry struct {
	url, host      string // http://sealos.hub:5000, sealos.hub:5000
	user, password string
	client         *http.Client

	mu     sync.Mutex
	absent map[string]time.Time // names that it was found to lack, and when
}

// forgets is how long the program of sealos takes an answer for true that an image is not in the registry, also where there
// was no answer.
const forgets = 30 * time.Minute

func newRegistry(address, auth string) *registry {
	r := &registry{absent: map[string]time.Time{}, url: strings.TrimSuffix(address, "/"), client: &http.Client{
		Timeout: 10 * time.Second,
		// No proxy of the environment: the registry is in the cluster.
		Transport: &http.Transport{Proxy: nil},
	}}
	_, r.host, _ = strings.Cut(r.url, "://")
	r.user, r.password, _ = strings.Cut(auth, ":")
	return r
}

// nameOf is the name under which the registry has an image, if it has it.
// Identifiers are no names, and the runtime knows them.
func (r *registry) nameOf(ctx context.Context, image string) (string, bool) {
	named, err := reference.ParseDockerRef(image)
	if err != nil {
		return "", false
	}
	path := reference.Path(named)
	// ParseDockerRef gives either a digest or a tag, and latest where there is neither.
	name, version := r.host+"/"+path+":", ""
	switch n := named.(type) {
	case reference.Digested:
		name, version = r.host+"/"+path+"@", n.Digest().String()
	case reference.Tagged:
		version = n.Tag()
	}
	r.mu.Lock()
	since, absent := r.absent[name+version]
	r.mu.Unlock()
	if absent && time.Since(since) < forgets {
		log.Printf("%s is not there, as was found %s ago", name+version, time.Since(since).Round(time.Second))
		return name + version, false
	}
	has := r.has(ctx, path, version)
	if !has {
		r.mu.Lock()
		r.absent[name+version] = time.Now()
		r.mu.Unlock()
	}
	return name + version, has
}

// manifests are the media types that a runtime takes.
const manifests = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, " +
	"application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

// has asks for a manifest. A registry that does not answer has nothing: then
// the runtime is asked for the name as it is, and its error is the one told.
func (r *registry) has(ctx context.Context, path, tag string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, r.url+"/v2/"+path+"/manifests/"+tag, nil)
	if err != nil {
		return false
	}
	req.SetBasicAuth(r.user, r.password)
	req.Header.Set("Accept", manifests)
	resp, err := r.client.Do(req)
	if err != nil {
		log.Printf("ask the registry for %s:%s: %v", path, tag, err)
		return false
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		log.Printf("ask the registry for %s:%s: %s", path, tag, resp.Status)
	}
	return resp.StatusCode == http.StatusOK
}
