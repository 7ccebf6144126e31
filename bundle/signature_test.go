package bundle

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// testSigner is the same key for the same seed.
func testSigner(t testing.TB, seed byte) *Signer {
	t.Helper()
	key, err := ssh.NewSignerFromKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	return &Signer{key}
}

func trustOf(t testing.TB, lines ...string) *Trust {
	t.Helper()
	trust, err := ParseTrust("test", []byte(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return trust
}

func signedBundle(t testing.TB, s *Signer) []byte {
	t.Helper()
	file, _ := makeBundle(t, WriterOptions{Stub: strings.NewReader("stub\n"), Sign: s.Sign}, []testBlob{{noise(1, 3000), false}}, nil)
	return file
}

func TestOnlyTheKeysThatAreTrustedCount(t *testing.T) {
	us, them := testSigner(t, 1), testSigner(t, 2)
	r := openBytes(t, signedBundle(t, us))
	mustVerify(t, r)
	now := time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)
	for line, want := range map[string]error{
		us.PublicKey():                                      nil,
		us.PublicKey() + " release":                         nil,
		"release@example.com " + us.PublicKey():             nil,
		`"a b" namespaces="git,bundle@*" ` + us.PublicKey(): nil,
		`x namespaces="bundle@sealbuild.io",valid-after="20260101" ` + us.PublicKey(): nil,
		"x valid-before=\"20260601120001Z\" " + us.PublicKey():                        nil,
		"x valid-before=\"20260601120000Z\" " + us.PublicKey():                        ErrUntrusted,
		"x valid-after=\"202606011201Z\" " + us.PublicKey():                           ErrUntrusted,
		them.PublicKey(): ErrUntrusted,
	} {
		if _, err := trustOf(t, line).Check(r, now); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", line, err, want)
		}
	}
	if name, err := trustOf(t, them.PublicKey(), "# comment", "", "release@example.com "+us.PublicKey()).Check(r, now); err != nil || name != "release@example.com" {
		t.Errorf("the second of two keys: %q, %v", name, err)
	}
	plain, _ := smallBundle(t, "")
	if _, err := trustOf(t, us.PublicKey()).Check(openBytes(t, plain), now); !errors.Is(err, ErrUnsigned) {
		t.Errorf("without a signature: %v", err)
	}
}

func TestTrustThatIsNotPlainIsRefused(t *testing.T) {
	key := testSigner(t, 1).PublicKey()
	for _, text := range []string{
		"", "# nothing\n", "ssh-ed25519 AAAA", "x namespaces=\"git\" " + key, "x cert-authority " + key, "x strange " + key,
		"x valid-after=\"yesterday\" " + key, "release@example.com", key + "\nrubbish",
	} {
		if _, err := ParseTrust("file", []byte(text)); err == nil || !strings.Contains(err.Error(), "file") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestSignatureOfAnotherBundleIsNoneOfThisOne(t *testing.T) {
	us := testSigner(t, 1)
	other, err := us.Sign([]byte("another index"))
	if err != nil {
		t.Fatal(err)
	}
	o := WriterOptions{Sign: func([]byte) ([]byte, error) { return other, nil }}
	file, _ := makeBundle(t, o, nil, nil)
	r := openBytes(t, file)
	if _, err := r.SignedBy(); !errors.Is(err, ErrBadSignature) {
		t.Errorf("SignedBy = %v", err)
	}
	if _, err := trustOf(t, us.PublicKey()).Check(r, time.Now()); !errors.Is(err, ErrBadSignature) {
		t.Errorf("Check = %v", err)
	}
	if damage, err := r.Verify(context.Background(), nil); err != nil || len(damage) != 1 || damage[0].Entry != PartSignature {
		t.Errorf("Verify = %v, %v", damage, err)
	}
}

func TestWriterRefusesWhatIsNoSignature(t *testing.T) {
	for _, text := range []string{"", "signed", "-----BEGIN SSH SIGNATURE-----\nAAAA\n-----END SSH SIGNATURE-----\n"} {
		w, err := NewWriter(&bytes.Buffer{}, WriterOptions{Sign: func([]byte) ([]byte, error) { return []byte(text), nil }})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Close(); !errors.Is(err, ErrBadSignature) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// OpenSSH checks signatures of ours, cut out of the file with dd, of every kind
// of key and way to hold it.
func TestSSHKeygenChecksTheFile(t *testing.T) {
	tool(t, "ssh-keygen")
	for _, kind := range []string{"ed25519", "ecdsa", "rsa"} {
		for _, passphrase := range []string{"", "open sesame"} {
			t.Run(kind+passphrase, func(t *testing.T) {
				dir := t.TempDir()
				run(t, dir, `ssh-keygen -q -a 1 -t $KIND -N "$PASS" -C release -f key`, "KIND="+kind, "PASS="+passphrase)
				asked := 0
				s, err := LoadSigner(filepath.Join(dir, "key"), func() ([]byte, error) { asked++; return []byte(passphrase), nil })
				if err != nil {
					t.Fatal(err)
				}
				if want := min(1, len(passphrase)); asked != want {
					t.Errorf("asked for the passphrase %d times", asked)
				}
				checkWithSSHKeygen(t, dir, signedBundle(t, s))
			})
		}
	}
}

func checkWithSSHKeygen(t *testing.T, dir string, file []byte) {
	t.Helper()
	r := openBytes(t, file)
	mustVerify(t, r)
	if err := os.WriteFile(filepath.Join(dir, "FILE"), file, 0o644); err != nil {
		t.Fatal(err)
	}
	at, _ := r.SignatureRange()
	env := []string{
		fmt.Sprint("IO=", r.IndexRange().Offset), fmt.Sprint("IL=", r.IndexRange().Length),
		fmt.Sprint("SO=", at.Offset), fmt.Sprint("SL=", at.Length), "NS=" + SignatureNamespace,
	}
	const check = `
echo "release $(cat key.pub)" > allowed_signers
dd if=FILE of=index bs=1M iflag=skip_bytes,count_bytes skip=$IO count=$IL status=none
dd if=FILE of=index.sig bs=1M iflag=skip_bytes,count_bytes skip=$SO count=$SL status=none
ssh-keygen -Y verify -f allowed_signers -I release -n $NS -s index.sig < index
! ssh-keygen -Y verify -f allowed_signers -I release -n file -s index.sig < index 2>/dev/null
printf x >> index
! ssh-keygen -Y verify -f allowed_signers -I release -n $NS -s index.sig < index 2>/dev/null`
	if out := run(t, dir, check, env...); !strings.Contains(out, "Good \"bundle@sealbuild.io\" signature for release") {
		t.Errorf("ssh-keygen says %q", out)
	}
}

func TestKeyOfAnAgentSigns(t *testing.T) {
	dir := t.TempDir()
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	ring := agent.NewKeyring()
	if err := ring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", filepath.Join(dir, "agent"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go agent.ServeAgent(ring, c)
		}
	}()
	public := testSigner(t, 7).PublicKey()
	name := filepath.Join(dir, "key.pub")
	if err := os.WriteFile(name, []byte(public+" in the agent\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SSH_AUTH_SOCK", filepath.Join(dir, "agent"))
	s, err := LoadSigner(name, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := trustOf(t, public).Check(openBytes(t, signedBundle(t, s)), time.Now()); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(name, []byte(testSigner(t, 8).PublicKey()), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := LoadSigner(name, nil); err == nil || !strings.Contains(err.Error(), "does not hold the private key") {
		t.Errorf("a key that the agent lacks: %v", err)
	}
}

func FuzzSignature(f *testing.F) {
	good := signedBundle(f, testSigner(f, 1))
	r := openBytes(f, good)
	text, err := r.Signature()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text)
	f.Add([]byte("-----BEGIN SSH SIGNATURE-----\n-----END SSH SIGNATURE-----\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		_, err := checkSignature(b, strings.NewReader("a message that nobody signed"))
		if !errors.Is(err, ErrBadSignature) {
			t.Fatalf("checkSignature = %v", err)
		}
	})
}

func FuzzTrust(f *testing.F) {
	key := testSigner(f, 1).PublicKey()
	for _, line := range []string{key, "a@b " + key, `a namespaces="x,!y*" ` + key, `"a b" valid-after="20260101",cert-authority ` + key} {
		f.Add([]byte(line))
	}
	r := openBytes(f, signedBundle(f, testSigner(f, 2)))
	f.Fuzz(func(t *testing.T, b []byte) {
		trust, err := ParseTrust("fuzz", b)
		if err != nil {
			return
		}
		if len(trust.signers) == 0 {
			t.Fatal("no error and no key")
		}
		if _, err := trust.Check(r, time.Now()); !errors.Is(err, ErrUntrusted) && !bytes.Contains(b, []byte(testSigner(t, 2).PublicKey())) {
			t.Fatalf("Check = %v", err)
		}
	})
}

func FuzzInventory(f *testing.F) {
	var b bytes.Buffer
	if _, err := (Inventory{testBlob{[]byte("x"), false}.digest(): 1}).WriteTo(&b); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(t *testing.T, text []byte) {
		v, err := ReadInventory("fuzz", bytes.NewReader(text))
		if err != nil {
			return
		}
		var out bytes.Buffer
		if _, err := v.WriteTo(&out); err != nil {
			t.Fatal(err)
		}
		again, err := ReadInventory("again", &out)
		if err != nil || len(again) != len(v) {
			t.Fatalf("%d blobs, then %d, %v", len(v), len(again), err)
		}
	})
}

// PublicKey is the key's line for an authorized_keys or trust file.
func (s *Signer) PublicKey() string {
	return string(bytes.TrimSpace(ssh.MarshalAuthorizedKey(s.key.PublicKey())))
}
