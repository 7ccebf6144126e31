package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/sealbuild/sealbuild/cmd/sealinstall/usage"
	"github.com/sealbuild/sealbuild/installer/care"
)

// checkPatience is how long care --check waits for an answer.
const checkPatience = 30 * time.Second

func newCareCommand() *cobra.Command {
	var vs, scheme, mode, services string
	var servers []string
	var clean, check bool
	c := care.Config{}
	cmd := &cobra.Command{
		Use: "care", Short: "Keep the virtual address of the API servers alive on this node", Args: noArgs,
		Example: "  sealinstall care --vs 10.103.97.2:6443 --rs 10.0.0.2:6443 --rs 10.0.0.3:6443",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if services != "" {
				return serviceRoute(cmd.OutOrStdout(), services, clean)
			}
			vip, err := netip.ParseAddrPort(vs)
			if err != nil {
				return usage.Errorf("--vs %q: expected ADDRESS:PORT", vs)
			}
			if !vip.Addr().Is4() || vip.Port() == 0 {
				return usage.Errorf("--vs %q: expected IPv4:PORT", vs)
			}
			if clean {
				return care.Clean(vip)
			}
			if check {
				ctx, cancel := context.WithTimeout(cmd.Context(), checkPatience)
				defer cancel()
				return care.Check(ctx, vip)
			}
			if scheme != "https" {
				return usage.Errorf("--health-schem %q: only https is supported", scheme)
			}
			if mode != care.ModeAuto && mode != care.ModeIPVS && mode != care.ModeProxy {
				return usage.Errorf("--mode %q: expected auto, ipvs or proxy", mode)
			}
			if len(servers) == 0 {
				return usage.Errorf("no real server: give at least one --rs")
			}
			c.VIP, c.Mode = vip, mode
			for _, s := range servers {
				rs, err := netip.ParseAddrPort(s)
				if err != nil {
					return usage.Errorf("--rs %q: expected ADDRESS:PORT", s)
				}
				c.RealServers = append(c.RealServers, rs)
			}
			c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			return care.Run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&vs, "vs", "", "virtual server ADDRESS:PORT")
	f.StringArrayVar(&servers, "rs", nil, "real server ADDRESS:PORT (repeatable)")
	f.StringVar(&mode, "mode", care.ModeAuto, "ipvs (kernel), proxy (this process) or auto")
	f.StringVar(&c.HealthPath, "health-path", care.DefaultHealthPath, "path that a healthy server answers")
	f.StringVar(&scheme, "health-schem", "https", "scheme of the health check")
	f.DurationVar(&c.Interval, "interval", care.DefaultInterval, "time between health checks")
	f.DurationVar(&c.Timeout, "health-timeout", 3*time.Second, "longest time for one health check")
	f.BoolVar(&c.RunOnce, "run-once", false, "program the kernel once and end")
	f.StringVar(&services, "service-route", "", "see to it that this host has a route to the network of Services given, CIDR, and end; with --clean: remove that of this program")
	f.BoolVar(&check, "check", false, "wait until the virtual server answers, and end")
	f.BoolVarP(&clean, "clean", "C", false, "remove the virtual server and end")
	return cmd
}

// serviceRoute says which route of ours is there, and nothing where the host has one of its own.
func serviceRoute(out io.Writer, network string, clean bool) error {
	if clean {
		return care.RemoveServiceRoutes()
	}
	prefix, err := netip.ParsePrefix(network)
	if err != nil {
		return usage.Errorf("--service-route %q: expected ADDRESS/BITS", network)
	}
	ours, added, err := care.EnsureServiceRoute(prefix)
	switch {
	case err != nil:
		return err
	case added:
		fmt.Fprintln(out, "added", prefix)
	case ours:
		fmt.Fprintln(out, "there", prefix)
	}
	return nil
}
