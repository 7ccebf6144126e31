package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/storage"
	"github.com/distribution/distribution/v3/registry/storage/driver"
	"github.com/sealbuild/sealbuild/registry/api"
)

// settings are what a configuration file says beyond [HandlerOptions].
type settings struct {
	api.Options
	headers http.Header // of every answer
	purge   purging
}

// settingsOf takes them from a configuration. What it names and is not known here is an error: a registry that leaves out what it
// was told to do is not the one that was configured.
func settingsOf(c *configuration.Configuration, writable bool) (settings, error) {
	s := settings{headers: http.Header(c.HTTP.Headers)}
	s.Writable = writable
	s.CatalogPage, s.TagsPage, s.Classes = c.Catalog.MaxEntries, c.Tags.MaxTags, c.Policy.Repository.Classes
	s.Delete = c.Storage["delete"]["enabled"] == true
	s.RelativeURLs = c.HTTP.RelativeURLs
	for where, list := range c.Middleware {
		for _, m := range list {
			if !m.Disabled {
				return s, fmt.Errorf("middleware.%s: %s is not known", where, m.Name)
			}
		}
	}
	if c.Storage["cache"]["blobdescriptor"] == "redis" {
		return s, errors.New("storage.cache: this registry contacts no other machine")
	}
	if c.HTTP.Host != "" {
		u, err := url.Parse(c.HTTP.Host)
		if err != nil {
			return s, fmt.Errorf("http.host: %w", err)
		}
		if u.Scheme != "" && u.Host != "" {
			s.Host = u
		}
	}
	if limit, ok := c.Storage.TagParameters()["concurrencylimit"]; ok {
		n, ok := limit.(int)
		if !ok || n < 0 {
			return s, fmt.Errorf("storage.tag.concurrencylimit: %v is not a number of requests", limit)
		}
		s.Storage = append(s.Storage, storage.TagLookupConcurrencyLimit(n))
	}
	validation, err := validationOf(c.Validation)
	if err != nil {
		return s, err
	}
	s.Storage = append(s.Storage, validation...)
	s.purge, err = purgingOf(c.Storage["maintenance"]["uploadpurging"])
	return s, err
}

// validationOf says which manifests are taken. Where nothing is said, layers that lie elsewhere are not, nor indexes of which
// something is missing.
func validationOf(v configuration.Validation) ([]storage.RegistryOption, error) {
	if v.Disabled && !v.Enabled {
		return nil, nil
	}
	var options []storage.RegistryOption
	allow, deny := v.Manifests.URLs.Allow, v.Manifests.URLs.Deny
	if len(allow)+len(deny) == 0 {
		allow = []string{"^$"}
	}
	for _, list := range []struct {
		name     string
		patterns []string
		option   func(*regexp.Regexp) storage.RegistryOption
	}{{"allow", allow, storage.ManifestURLsAllowRegexp}, {"deny", deny, storage.ManifestURLsDenyRegexp}} {
		if len(list.patterns) == 0 {
			continue
		}
		for _, p := range list.patterns {
			if _, err := regexp.Compile(p); err != nil {
				return nil, fmt.Errorf("validation.manifests.urls.%s: %w", list.name, err)
			}
		}
		one, err := regexp.Compile("(?:" + strings.Join(list.patterns, ")|(?:") + ")")
		if err != nil {
			return nil, fmt.Errorf("validation.manifests.urls.%s: %w", list.name, err)
		}
		options = append(options, list.option(one))
	}
	indexes := v.Manifests.Indexes
	if indexes.Platforms == "none" {
		return options, nil
	}
	options = append(options, storage.EnableValidateImageIndexImagesExist)
	if indexes.Platforms == "list" {
		for _, p := range indexes.PlatformList {
			options = append(options, storage.AddValidateImageIndexImagesExistPlatform(p.Architecture, p.OS))
		}
	}
	return options, nil
}

// purging says when uploads that nobody ended are removed.
type purging struct {
	age, interval time.Duration // no interval: never
	dryRun        bool
}

func purgingOf(value any) (purging, error) {
	p := purging{age: 7 * 24 * time.Hour, interval: 24 * time.Hour} // the registry's own defaults
	if value == nil {
		return p, nil
	}
	said, ok := value.(map[any]any)
	if !ok {
		return p, errors.New("storage.maintenance.uploadpurging has no settings")
	}
	if said["enabled"] == false {
		return purging{}, nil
	}
	for name, to := range map[string]*time.Duration{"age": &p.age, "interval": &p.interval} {
		text, _ := said[name].(string)
		d, err := time.ParseDuration(text)
		if err != nil || d <= 0 {
			return p, fmt.Errorf("storage.maintenance.uploadpurging.%s: %q is not a duration", name, text)
		}
		*to = d
	}
	p.dryRun, ok = said["dryrun"].(bool)
	if !ok {
		return p, errors.New("storage.maintenance.uploadpurging.dryrun is neither true nor false")
	}
	return p, nil
}

// firstPurge is when old uploads are removed first, so that a registry which is started often removes them, too.
const firstPurge = time.Hour

// start removes old uploads every interval, until ctx ends.
func (p purging) start(ctx context.Context, d driver.StorageDriver) {
	if p.interval == 0 {
		return
	}
	go func() {
		timer := time.NewTimer(min(firstPurge, p.interval))
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			timer.Reset(p.interval)
			_, _ = storage.PurgeUploads(ctx, d, time.Now().Add(-p.age), !p.dryRun) // tells the log what it did
		}
	}()
}
