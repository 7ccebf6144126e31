package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"sync"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/sealbuild/sealbuild/registry/disk"
)

// ServeConfig runs the registry that a distribution configuration file describes, until ctx ends: storage on the filesystem,
// http.addr, http.tls, auth.htpasswd. Whatever would make it talk to other machines (proxy, redis, notifications, other storages,
// ACME) is an error, and so is a missing accounts file. Certificates and accounts are read again when they change.
func ServeConfig(ctx context.Context, configPath string) error {
	f, err := os.Open(configPath)
	if err != nil {
		return fmt.Errorf("registry configuration: %w", err)
	}
	config, err := configuration.Parse(f)
	f.Close()
	if err != nil {
		text := strings.TrimPrefix(err.Error(), "yaml: ")
		if strings.Contains(text, "unmarshal") { // with types of Go
			text = "it is no configuration of distribution's registry: expected version, storage, http and auth"
		}
		return fmt.Errorf("registry configuration %s: %s", configPath, text)
	}
	o, err := optionsOf(config)
	if err != nil {
		return fmt.Errorf("registry configuration %s: %w", configPath, err)
	}
	tlsConfig, err := tlsOf(config.HTTP.TLS)
	if err != nil {
		return fmt.Errorf("registry configuration %s: %w", configPath, err)
	}
	s, err := settingsOf(config, o.Writable)
	if err != nil {
		return fmt.Errorf("registry configuration %s: %w", configPath, err)
	}
	h, err := newStoreHandler(ctx, o, s)
	if err != nil {
		return err
	}
	return Serve(ctx, config.HTTP.Addr, tlsConfig, h, nil)
}

// optionsOf takes from a configuration what this package can do, and refuses the rest.
func optionsOf(c *configuration.Configuration) (HandlerOptions, error) {
	o := HandlerOptions{Writable: true}
	switch {
	case c.Storage.Type() != "filesystem":
		return o, fmt.Errorf("storage %q: only filesystem is served", c.Storage.Type())
	case c.Proxy.RemoteURL != "":
		return o, errors.New("proxy: this registry contacts no other machine")
	case len(c.Redis.Options.Addrs) > 0:
		return o, errors.New("redis: this registry contacts no other machine")
	case len(c.Notifications.Endpoints) > 0:
		return o, errors.New("notifications: this registry contacts no other machine")
	case len(c.Log.Hooks) > 0:
		return o, errors.New("log.hooks: this registry contacts no other machine")
	case c.HTTP.TLS.LetsEncrypt.CacheFile != "":
		return o, errors.New("http.tls.letsencrypt: this registry contacts no other machine")
	case c.HTTP.Addr == "":
		return o, errors.New("http.addr is not set")
	case c.HTTP.Prefix != "" && c.HTTP.Prefix != "/":
		return o, fmt.Errorf("http.prefix %q: only / is served", c.HTTP.Prefix)
	case c.HTTP.Net != "" && c.HTTP.Net != "tcp":
		return o, fmt.Errorf("http.net %q: only tcp is served", c.HTTP.Net)
	}
	o.Root = disk.DefaultRoot
	if root, ok := c.Storage.Parameters()["rootdirectory"]; ok {
		o.Root = fmt.Sprint(root)
	}
	if ro, ok := c.Storage["maintenance"]["readonly"].(map[any]any); ok && ro["enabled"] == true {
		o.Writable = false
	}
	switch c.Auth.Type() {
	case "", "none":
	case "htpasswd":
		path, _ := c.Auth.Parameters()["path"].(string)
		if path == "" {
			return o, errors.New("auth.htpasswd.path is not set")
		}
		o.Htpasswd = path
		o.Realm, _ = c.Auth.Parameters()["realm"].(string)
	default:
		return o, fmt.Errorf("auth %q: only htpasswd is served", c.Auth.Type())
	}
	if u, err := url.Parse(c.HTTP.Host); err == nil && u.Hostname() != "" {
		o.Names = []string{u.Hostname()}
	}
	return o, nil
}

func tlsOf(c configuration.TLS) (*tls.Config, error) {
	if c.Certificate == "" && c.Key == "" {
		return nil, nil
	}
	k := &keyPair{certificate: c.Certificate, key: c.Key}
	if _, err := k.get(nil); err != nil {
		return nil, err
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: k.get}
	switch c.MinimumTLS {
	case "", "tls1.2":
	case "tls1.3":
		config.MinVersion = tls.VersionTLS13
	default:
		return nil, fmt.Errorf("http.tls.minimumtls %q: tls1.2 or tls1.3", c.MinimumTLS)
	}
	if len(c.ClientCAs) == 0 {
		return config, nil
	}
	config.ClientAuth = tls.RequireAndVerifyClientCert
	config.ClientCAs = x509.NewCertPool()
	for _, path := range c.ClientCAs {
		pem, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("http.tls.clientcas: %w", err)
		}
		if !config.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("http.tls.clientcas: %s holds no certificate", path)
		}
	}
	return config, nil
}

// keyPair is a certificate that is read again when its files change, so that renewing it needs no restart.
type keyPair struct {
	certificate, key string

	mu     sync.Mutex
	read   [2]fs.FileInfo // of the files when they were read
	loaded *tls.Certificate
}

func (k *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	var now [2]fs.FileInfo
	for i, name := range []string{k.certificate, k.key} {
		fi, err := os.Stat(name)
		if err != nil && k.loaded == nil {
			return nil, fmt.Errorf("http.tls: %w", err)
		}
		if err != nil {
			return k.loaded, nil // in the middle of a renewal
		}
		now[i] = fi
	}
	if k.loaded != nil && unchanged(k.read[0], now[0]) && unchanged(k.read[1], now[1]) {
		return k.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(k.certificate, k.key)
	if err != nil {
		if k.loaded != nil {
			return k.loaded, nil // the key or the certificate is still the old one
		}
		return nil, fmt.Errorf("http.tls: %w", err)
	}
	k.loaded, k.read = &pair, now
	return k.loaded, nil
}
