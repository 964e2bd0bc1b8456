import HostModel
import HostOS
import HostTestSupport
import Mounts
import Testing

struct FileServerTests {
    @Test func librariesAreReadFromTheListingOfTheLoader() {
        let listing = """
            \tlinux-vdso.so.1 (0x00007f797fbd4000)
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f797f9ae000)
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f797fbd6000)
            """
        #expect(
            FileServer.libraries(inListing: listing)
                == ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/ld-linux-x86-64.so.2"])
        #expect(FileServer.libraries(inListing: "\tstatically linked\n").isEmpty)
    }
}
