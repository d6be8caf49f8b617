package config

import (
	"crypto/ed25519"
	"fmt"

	"weir/host"
	"weir/internal/sign"
)

// Trusted is Host for bytes that must be signed if m.Signers says so. It fails
// with sign.ErrUnsigned or sign.ErrSignature.
func (m Module) Trusted(name string, wasm []byte) (host.Module, error) {
	module, err := m.Host(name, wasm)
	if err != nil || len(m.Signers) == 0 {
		return module, err
	}
	var keys []ed25519.PublicKey
	for _, text := range m.Signers {
		key, err := sign.ParseKey(text)
		if err != nil {
			return host.Module{}, fmt.Errorf("modules.%s.signers: %w", name, err)
		}
		keys = append(keys, key)
	}
	signer, err := sign.Verify(wasm, keys)
	if err != nil {
		return host.Module{}, fmt.Errorf("module %s: %w", name, err)
	}
	module.Signer, module.Version = sign.FormatKey(signer), sign.Version(wasm)
	return module, nil
}

// Host is the module as a server loads it under that name, with the bytes of its
// file.
func (m Module) Host(name string, wasm []byte) (host.Module, error) {
	settings, err := m.JSON()
	if err != nil {
		return host.Module{}, fmt.Errorf("modules.%s.config: %w", name, err)
	}
	return host.Module{
		Name: name, Wasm: wasm, Config: settings, Capabilities: m.Granted(), KeepHeaders: m.KeepHeaders,
		Metrics:     m.Metrics,
		MemoryPages: m.MemoryPages(), Instances: m.Instances, Limits: m.Limits, Ungranted: m.Ungranted,
		OnTrap: m.OnTrap, Record: m.Record, Topics: m.Topics, Breaker: m.Breaker,
		Rollout: m.Rollout, Cells: m.Cells, IdleAfter: m.IdleAfter,
	}, nil
}
