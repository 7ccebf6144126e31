package main

import "slices"

// Kubernetes' own tests name these images and tags in test/utils/image/manifest.go
// of the module that the directory e2e pins. What they hold follows the
// Dockerfiles in test/images there, with Debian's programs in Alpine's place.
func conformanceImages() []image {
	const agnhostTag = "2.63.0"
	list := []image{
		agnhost(agnhostTag),
		agnhost("2.55"),
		pet("kitten", "1.8"),
		pet("nautilus", "1.8"),
		{
			name:   testImage("sample-apiserver", "1.29.2"),
			layers: []layer{base(), {comment: "sample-apiserver", files: []file{program("sample-apiserver", "programs/{arch}/sample-apiserver")}}},
			// The test names the program itself.
			entrypoint: []string{"/sample-apiserver"},
		},
		{
			name:   testImage("nonewprivs", "1.4"),
			layers: []layer{base(), {comment: "nnp", files: []file{{path: "usr/local/bin/nnp", from: "programs/{arch}/nnp", mode: 0o4755}}}},
			cmd:    []string{"nnp"},
		},
		{
			name:   testImage("nonroot", "1.5"),
			layers: []layer{base(), busyboxAndBash()},
			cmd:    []string{"sh"},
			user:   "1234",
		},
		{
			name:   testImage("ipc-utils", "1.4"),
			layers: []layer{base(), busyboxAndBash("ipcs", "ipcrm"), {comment: "ipcs, ipcmk, ipcrm", closure: []string{"usr/bin/ipcs", "usr/bin/ipcmk", "usr/bin/ipcrm"}}},
			cmd:    []string{"sh"},
		},
		{
			name: testImage("glibc-dns-testing", "2.0.0"),
			layers: []layer{
				base(), busyboxAndBash("nslookup"),
				{comment: "dig, nslookup, host, getent", closure: []string{"usr/bin/dig", "usr/bin/nslookup", "usr/bin/host", "usr/bin/getent"}},
			},
			cmd: []string{"bash"},
		},
	}
	for _, tag := range []string{"1.37.0-1", "1.36.1-1"} {
		list = append(list, image{name: testImage("busybox", tag), layers: []layer{base(), busyboxAlone()}, cmd: []string{"sh"}})
	}
	for _, tag := range []string{"1.15-4", "1.27-0"} {
		list = append(list, nginx(tag))
	}
	return list
}

func testImage(name, tag string) string {
	return "registry.k8s.io/e2e-test-images/" + name + ":" + tag
}

// busyboxAndBash is every applet of busybox but some, and bash as the shell: in
// Debian's busybox the shell takes its own applets before other programs.
func busyboxAndBash(without ...string) layer {
	return layer{
		comment: "busybox, bash",
		files:   []file{program("bin/bash", "debian/bin/bash-static"), symlink("bin/sh", "bash")},
		busybox: true,
		without: slices.Concat([]string{"sh", "bash"}, without),
	}
}

// busyboxAlone is busybox with its own shell, whose words a test compares.
// keepenv stands between a process and sh and env, and tells why.
func busyboxAlone() layer {
	return layer{
		comment: "busybox, keepenv",
		files:   []file{program("bin/keepenv", "programs/{arch}/keepenv"), symlink("bin/sh", "keepenv"), symlink("bin/env", "keepenv")},
		busybox: true,
		without: []string{"sh", "env"},
	}
}

// agnhost is the image that most tests run: one program with a verb for each,
// and what is called in its shell.
func agnhost(tag string) image {
	return image{
		name: testImage("agnhost", tag),
		layers: []layer{
			testAccounts(), busyboxAndBash("ip", "nc", "nslookup", "netcat"),
			{comment: "curl, dig, getent, ip, nc, iperf", files: []file{symlink("bin/nc", "nc.openbsd"), symlink("usr/local/bin/iperf", "/usr/bin/iperf")}, closure: []string{
				"usr/bin/curl", "usr/bin/dig", "usr/bin/nslookup", "usr/bin/host", "usr/bin/getent", "bin/nc.openbsd", "bin/ip", "bin/ss", "usr/bin/iperf",
				"etc/iproute2/*", "etc/protocols", "etc/services",
			}},
			{comment: "agnhost", files: []file{
				program("agnhost", "programs/{arch}/agnhost"),
				symlink("agnhost-2", "agnhost"),
				{path: "localhost.crt", from: "e2e/localhost.crt", mode: 0o644},
				{path: "localhost.key", from: "e2e/localhost.key", mode: 0o644},
				directory("uploads", 0o755),
			}},
		},
		entrypoint: []string{"/agnhost"},
		cmd:        []string{"pause"},
		ports:      []string{"80/tcp", "8080/tcp", "8081/tcp", "9376/tcp", "5000/tcp"},
	}
}

// pet is agnhost with a picture: what a rolling update goes from and to.
func pet(name, tag string) image {
	img := agnhost("")
	img.name = testImage(name, tag)
	img.layers = append(img.layers, layer{comment: name, files: []file{
		{path: name + ".jpg", from: "e2e/" + name + ".jpg", mode: 0o644},
		{path: "data.json", from: "e2e/" + name + ".json", mode: 0o644},
	}})
	img.cmd = []string{"test-webserver"}
	return img
}

// testAccounts is base with the user and the group that a test of
// supplementary groups expects, and a release file with the two words that a
// test of image volumes reads: upstream's image lies upon Alpine Linux.
func testAccounts() layer {
	l := base()
	l.comment = "CA bundle, accounts of the tests, temporary directory"
	for i := range l.files {
		switch l.files[i].path {
		case "etc/passwd":
			l.files[i].content += "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n"
		case "etc/group":
			l.files[i].content += "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n"
		}
	}
	l.files = append(l.files, text("etc/os-release", "ID=debian\nPRETTY_NAME=\"Programs of Debian, where upstream has Alpine Linux\"\n"))
	return l
}

// nginx answers on port 80 with a page where the tests look for it.
func nginx(tag string) image {
	const page = "<!DOCTYPE html>\n<title>Welcome to nginx!</title>\n"
	const configuration = `daemon off;
user nobody;
error_log /dev/stderr;
pid /tmp/nginx.pid;
events {}
http {
  access_log /dev/stdout;
  default_type text/html;
  server { listen 80; listen [::]:80; root /usr/share/nginx/html; index index.html; }
}
`
	return image{
		name: testImage("nginx", tag),
		layers: []layer{
			base(), busyboxAndBash(),
			{comment: "nginx", closure: []string{"usr/sbin/nginx"}, files: []file{
				text("etc/nginx/nginx.conf", configuration),
				text("usr/share/nginx/html/index.html", page),
				directory("var/lib/nginx", 0o755),
				directory("var/log/nginx", 0o755),
			}},
		},
		cmd:   []string{"nginx"},
		ports: []string{"80/tcp"},
	}
}
