/// Full-width forms as half-width ones.
public enum HalfWidth {
    /// U+FF01 to U+FF5E as U+0021 to U+007E, U+3000 as a space, any other scalar as it is.
    public static func scalar(_ scalar: Unicode.Scalar) -> Unicode.Scalar {
        Unicode.Scalar(value(scalar.value)) ?? scalar
    }

    @inline(__always)
    static func value(_ scalar: UInt32) -> UInt32 {
        switch scalar {
        case 0xFF01...0xFF5E: scalar - 0xFEE0
        case 0x3000: 0x20
        default: scalar
        }
    }
}
