package installer

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// NameSome names a few and counts the rest.
func NameSome(names []string) string {
	const most = 8
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// HostList writes hosts as --masters and --nodes take them: neighbours as a range.
func HostList(hosts []string) string {
	var addresses []netip.Addr
	var out []string
	for _, h := range hosts {
		switch ip, err := netip.ParseAddr(h); {
		case err == nil:
			addresses = append(addresses, ip)
		case h == "":
			out = append(out, "cluster")
		default:
			out = append(out, h)
		}
	}
	slices.SortFunc(addresses, netip.Addr.Compare)
	addresses = slices.Compact(addresses)
	for i := 0; i < len(addresses); {
		last := i
		for last+1 < len(addresses) && addresses[last].Next() == addresses[last+1] {
			last++
		}
		text := addresses[i].String()
		if last > i {
			text += "-" + addresses[last].String()
		}
		out = append(out, text)
		i = last + 1
	}
	text := strings.Join(out, ",")
	if len(addresses) > 2 {
		text += fmt.Sprintf(" (%d hosts)", len(addresses))
	}
	return text
}

// SomeOf names the first of many.
func SomeOf(files []string) string {
	const most = 8
	if len(files) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(files[:most], ", "), len(files)-most)
	}
	return strings.Join(files, ", ")
}
