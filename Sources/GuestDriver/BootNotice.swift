/// What a machine tells its guest from the first moment on, before the guest has read any disk. It stays the same when the
/// guest boots again.
package struct BootNotice: Sendable, Equatable {
    /// Arguments for the guest's kernel, if the host loads the kernel.
    package var kernelArguments: [String]
    /// The asset tag of the machine's chassis (SMBIOS, type 3), for a guest that boots from its disk; nil for none.
    package var assetTag: String?

    package init(kernelArguments: [String] = [], assetTag: String? = nil) {
        self.kernelArguments = kernelArguments
        self.assetTag = assetTag
    }
}
