package site

import "context"

// Load is how every pipeline begins: it settles the architecture, and reads the images and their small files. Only where the
// bundle is for several architectures is a host asked.
func (st *Site) Load(ctx context.Context) error {
	if err := st.SettleArch(ctx); err != nil {
		return err
	}
	return st.Read(ctx)
}

// Read reads the images and their small files, and judges the addresses that they ask for.
func (st *Site) Read(ctx context.Context) error {
	if err := st.Payload.Load(ctx, st.Cluster); err != nil {
		return err
	}
	return st.checkNetworks()
}
