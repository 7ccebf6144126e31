package wanted

import (
	"os"
	"testing"
	"time"
)

func TestPasswordOfTheEnvironmentIsNotInherited(t *testing.T) {
	t.Setenv(PasswordVariable, "correct-horse")
	if got := EnvironmentPassword(); got != "correct-horse" {
		t.Errorf("password %q", got)
	}
	if got, there := os.LookupEnv(PasswordVariable); there {
		t.Errorf("what is started here inherits %q", got)
	}
	if got := EnvironmentPassword(); got != "correct-horse" {
		t.Errorf("asked again, it is %q", got)
	}
}

func TestValidityMayBeInDaysAndYears(t *testing.T) {
	for s, want := range map[string]time.Duration{"100y": 876000 * time.Hour, "1d": 24 * time.Hour, "8760h": 8760 * time.Hour, "90m": 90 * time.Minute} {
		if got, err := parseValidity(s); err != nil || got != want {
			t.Errorf("%s = %s, %v; want %s", s, got, err, want)
		}
	}
	for _, s := range []string{"", "y", "0y", "-1d", "1000y", "10m", "x", "1.5y"} {
		if got, err := parseValidity(s); err == nil {
			t.Errorf("%q is taken for %s", s, got)
		}
	}
}
