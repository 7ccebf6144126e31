package build

import (
	"errors"

	"github.com/containers/common/libnetwork/types"
)

// errNoNetwork answers what a build never asks: RUN instructions share the host's network, so no container network is ever set up.
var errNoNetwork = errors.New("builds use the host's network")

// noNetwork satisfies buildah's demand for a network backend without looking for netavark on the machine.
type noNetwork struct{}

var _ types.ContainerNetwork = noNetwork{}

func (noNetwork) NetworkCreate(types.Network, *types.NetworkCreateOptions) (types.Network, error) {
	return types.Network{}, errNoNetwork
}

func (noNetwork) NetworkUpdate(string, types.NetworkUpdateOptions) error { return errNoNetwork }

func (noNetwork) NetworkRemove(string) error { return errNoNetwork }

func (noNetwork) NetworkList(...types.FilterFunc) ([]types.Network, error) { return nil, nil }

func (noNetwork) NetworkInspect(string) (types.Network, error) { return types.Network{}, errNoNetwork }

func (noNetwork) Setup(string, types.SetupOptions) (map[string]types.StatusBlock, error) {
	return nil, errNoNetwork
}

func (noNetwork) Teardown(string, types.TeardownOptions) error { return nil }

func (noNetwork) RunInRootlessNetns(run func() error) error { return run() }

func (noNetwork) RootlessNetnsInfo() (*types.RootlessNetnsInfo, error) { return nil, errNoNetwork }

func (noNetwork) Drivers() []string { return nil }

func (noNetwork) DefaultNetworkName() string { return "host" }

func (noNetwork) NetworkInfo() types.NetworkInfo { return types.NetworkInfo{} }
