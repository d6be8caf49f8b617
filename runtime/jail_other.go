//go:build !linux

package runtime

import (
	"errors"
	"os"
	"syscall"
)

var errJailSystem = errors.New("it needs Linux")

func jailProgram() (string, error) { return "", errJailSystem }

func jailAttr() *syscall.SysProcAttr { return nil }

func endSignal(*os.ProcessState) (string, bool) { return "", false }

func enterJail(uint64, uint64) error { return errJailSystem }
