package etcd

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/Masterminds/semver/v3"
)

// version asks the member at the endpoint for the version of the cluster; empty if it does not tell.
func (c *Client) version(ctx context.Context) string {
	body, err := c.ask(ctx, http.MethodGet, c.endpoint, "/version", "", statusTimeout)
	if err != nil {
		return ""
	}
	var answer struct {
		Cluster string `json:"etcdcluster"`
	}
	if json.Unmarshal(body, &answer) != nil {
		return ""
	}
	return answer.Cluster
}

// CanRunOlder is an error unless an etcd of the older version can run in a cluster of that version. etcd raises the version of
// a cluster to a minor when all its members have that one, and from then on no older minor starts with its data. Patches
// of a minor read each other's. Versions are as etcd tells them and as its images are tagged: "3.6.0", "3.6.6-0".
func CanRunOlder(cluster, older string) error {
	now, err := semver.NewVersion(cluster)
	if err != nil {
		return fmt.Errorf("etcd does not tell a version of its cluster (%q): all members have to be up", cluster)
	}
	old, err := semver.NewVersion(older)
	if err != nil {
		return fmt.Errorf("version %q of etcd: %w", older, err)
	}
	if old.Major() < now.Major() || old.Major() == now.Major() && old.Minor() < now.Minor() {
		return fmt.Errorf("etcd %s cannot run with these data any more: all members have had %d.%d, and the cluster's data are of it since (version of the cluster %s)",
			older, now.Major(), now.Minor(), cluster)
	}
	return nil
}
