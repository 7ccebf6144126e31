package testbed

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
)

// aptSource is where this machine's own packages come from.
type aptSource struct{ Mirror, Suite string }

// systemSource reads the mirror and suite from the system's apt configuration,
// so that a site's own mirror is used and none is written down here.
func systemSource(ctx context.Context) (aptSource, error) {
	suite, err := osReleaseField("/etc/os-release", "VERSION_CODENAME")
	if err != nil {
		return aptSource{}, err
	}
	// --no-release-info also lists sources whose indexes were never fetched.
	out, err := tool(ctx, "apt-get", "indextargets", "--no-release-info",
		"--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages")
	if err != nil {
		return aptSource{}, fmt.Errorf("read apt sources: %w", err)
	}
	return pickSource(out, suite)
}

// pickSource chooses the line of the suite itself: its -updates and -security
// companions hold no base system.
func pickSource(listing, suite string) (aptSource, error) {
	for line := range strings.Lines(listing) {
		f := strings.Fields(line)
		if len(f) == 3 && f[1] == suite && f[2] == "main" {
			return aptSource{Mirror: strings.TrimSuffix(f[0], "/"), Suite: suite}, nil
		}
	}
	return aptSource{}, fmt.Errorf("apt has no source with component main for %s: add one to /etc/apt/sources.list.d and run apt-get update", suite)
}

func osReleaseField(path, key string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), key+"="); ok {
			return strings.Trim(v, `"'`), nil
		}
	}
	return "", errors.Join(sc.Err(), fmt.Errorf("%s has no %s: the test bed builds its hosts from Debian packages", path, key))
}
