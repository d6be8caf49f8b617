//go:build !wasip1

package weir

import "weir/guest-sdk/go/internal/native"

// A native build has no server around it. Package weirtest plays one, through package native.
func init() { native.Handles, native.Event = handles, dispatch }
