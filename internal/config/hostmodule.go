package config

import (
	"fmt"

	"weir/host"
)

// Host is the module as a server loads it under that name, with the bytes of its
// file.
func (m Module) Host(name string, wasm []byte) (host.Module, error) {
	settings, err := m.JSON()
	if err != nil {
		return host.Module{}, fmt.Errorf("modules.%s.config: %w", name, err)
	}
	return host.Module{
		Name: name, Wasm: wasm, Config: settings, Capabilities: m.Granted(), KeepHeaders: m.KeepHeaders,
		MemoryPages: m.MemoryPages(), Instances: m.Instances, Limits: m.Limits, Ungranted: m.Ungranted,
		OnTrap: m.OnTrap, Record: m.Record, Breaker: m.Breaker,
		Rollout: m.Rollout, Cells: m.Cells, IdleAfter: m.IdleAfter,
	}, nil
}
