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

// checkPatience is how long care --check waits for what it asks about.
const checkPatience = 15 * time.Second

func newCareCommand() *cobra.Command {
	var vs, scheme, services string
	var servers, ready, pods, held []string
	var clean, check, watch, hold bool
	c := care.Config{}
	cmd := &cobra.Command{
		Use: "care", Short: "Keep the virtual address of the API servers alive on this node", Args: noArgs,
		Example: "  sealinstall care --vs 10.103.97.2:6443 --rs 10.0.0.2:6443 --rs 10.0.0.3:6443\n" +
			"  sealinstall care --check --vs 10.103.97.2:6443 --list " + care.ListFile,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if services != "" {
				return serviceRoute(cmd.OutOrStdout(), services, clean)
			}
			c.Log = slog.New(slog.NewTextHandler(os.Stderr, nil))
			if hold {
				return holdPackets(cmd.Context(), pods, held, clean, c)
			}
			if c.VIP, err = netip.ParseAddrPort(vs); err != nil {
				return usage.Errorf("--vs %q: expected ADDRESS:PORT", vs)
			}
			if !c.VIP.Addr().Is4() || c.VIP.Port() == 0 {
				return usage.Errorf("--vs %q: expected IPv4:PORT", vs)
			}
			if c.RealServers, err = addresses("--rs", servers); err != nil {
				return err
			}
			awaited, err := addresses("--ready", ready)
			if err != nil {
				return err
			}
			if len(awaited) > 0 && (!check || c.List == "") {
				return usage.Errorf("--ready: it is asked of --check with --list")
			}
			switch {
			case clean:
				return care.Clean(c.VIP)
			case check:
				return checkCare(cmd.Context(), cmd.OutOrStdout(), c, awaited)
			case watch && c.List == "":
				return usage.Errorf("--watch: say with --list which care is meant")
			case watch:
				care.Watch(cmd.Context(), c.List, c.Log)
				return nil
			case scheme != "https":
				return usage.Errorf("--health-schem %q: only https is supported", scheme)
			case c.Mode != care.ModeAuto && c.Mode != care.ModeIPVS && c.Mode != care.ModeProxy:
				return usage.Errorf("--mode %q: expected auto, ipvs or proxy", c.Mode)
			case c.List != "" && len(servers) > 0:
				return usage.Errorf("--list and --rs: give one of them")
			case c.List == "" && len(servers) == 0:
				return usage.Errorf("no real server: give at least one --rs, or --list")
			}
			return care.Run(cmd.Context(), c)
		},
	}
	f := cmd.Flags()
	f.StringVar(&vs, "vs", "", "virtual server ADDRESS:PORT")
	f.StringArrayVar(&servers, "rs", nil, "real server ADDRESS:PORT (repeatable)")
	f.StringVar(&c.List, "list", "", "file with the real servers, one ADDRESS:PORT a line, which is followed; the status is told at a socket beside it")
	f.StringVar(&c.Mode, "mode", care.ModeAuto, "ipvs (kernel), proxy (this process) or auto")
	f.StringVar(&c.HealthPath, "health-path", care.DefaultHealthPath, "path that a healthy server answers")
	f.StringVar(&scheme, "health-schem", "https", "scheme of the health check")
	f.DurationVar(&c.Interval, "interval", care.DefaultInterval, "time between health checks")
	f.DurationVar(&c.Timeout, "health-timeout", care.DefaultTimeout, "longest time for one health check")
	f.BoolVar(&c.RunOnce, "run-once", false, "program the kernel once and end")
	f.StringVar(&services, "service-route", "", "see to it that this host has a route to the network of Services given, CIDR, and end; with --clean: remove that of this program")
	f.BoolVar(&hold, "hold", false, "keep packets to --pods and --services on this host until the network of pods has made its routes; with --run-once: begin it and end; with --clean: end it")
	f.StringArrayVar(&pods, "pods", nil, "with --hold: network of pods, CIDR (repeatable)")
	f.StringArrayVar(&held, "services", nil, "with --hold: network of Services, CIDR (repeatable)")
	f.BoolVar(&check, "check", false, "wait until the virtual server answers, and with --list until what is in force is what the file says, or the servers of --rs; print the status and end")
	f.StringArrayVar(&ready, "ready", nil, "with --check and --list: wait also until this server, ADDRESS:PORT, says that it is ready and gets connections (repeatable)")
	f.BoolVar(&watch, "watch", false, "log the status of the care that follows --list whenever it changes")
	f.BoolVarP(&clean, "clean", "C", false, "remove the virtual server and end")
	return cmd
}

// addresses reads the values of a flag.
func addresses(flag string, values []string) (out []netip.AddrPort, err error) {
	for _, v := range values {
		a, err := netip.ParseAddrPort(v)
		if err != nil {
			return nil, usage.Errorf("%s %q: expected ADDRESS:PORT", flag, v)
		}
		out = append(out, a)
	}
	return out, nil
}

// checkCare waits until the virtual server answers and, if a list is named, its care has these servers in force and has found those
// of ready to be so.
func checkCare(ctx context.Context, out io.Writer, c care.Config, ready []netip.AddrPort) error {
	ctx, cancel := context.WithTimeout(ctx, checkPatience)
	defer cancel()
	if c.List == "" {
		return care.Check(ctx, c.VIP)
	}
	list := care.List{Servers: c.RealServers}
	if len(list.Servers) == 0 {
		var err error
		if list, err = care.ReadList(c.List); err != nil {
			return err
		}
	}
	s, err := care.Confirm(ctx, c.List, c.VIP, list, ready...)
	if err != nil {
		return err
	}
	fmt.Fprintln(out, s)
	return nil
}

// holdPackets keeps packets to pods and Services on the host while it boots.
func holdPackets(ctx context.Context, pods, services []string, clean bool, c care.Config) (err error) {
	if clean {
		return care.EndHold()
	}
	var h care.Held
	if h.Pods, err = networks("--pods", pods); err != nil {
		return err
	}
	if h.Services, err = networks("--services", services); err != nil {
		return err
	}
	if len(h.Pods) == 0 {
		return usage.Errorf("--hold: say with --pods which network pods have")
	}
	if c.RunOnce {
		return care.BeginHold(h)
	}
	return care.Hold(ctx, h, c.Log)
}

// networks reads the values of a flag.
func networks(flag string, values []string) (out []netip.Prefix, err error) {
	for _, v := range values {
		p, err := netip.ParsePrefix(v)
		if err != nil || p.Bits() == 0 {
			return nil, usage.Errorf("%s %q: expected ADDRESS/BITS", flag, v)
		}
		out = append(out, p)
	}
	return out, nil
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
