//! The macro that makes a type a component's operator.

/// Makes a type the operator of this crate's component: `export!(map Enrich)`, `filter`, `flat_map` or `process`.
///
/// Once a component; natively, for tests, as often as there are types.
#[macro_export]
macro_rules! export {
    (map $operator:ty) => {
        $crate::export!(@ $operator, $crate::kind::map::MapRunner<$operator>, map_part export_map);
    };
    (filter $operator:ty) => {
        $crate::export!(@ $operator, $crate::kind::filter::FilterRunner<$operator>, filter_part export_filter);
    };
    (flat_map $operator:ty) => {
        $crate::export!(@ $operator, $crate::kind::flat_map::FlatMapRunner<$operator>, flat_map_part export_flat_map);
    };
    (process $operator:ty) => {
        $crate::export!(@ $operator, $crate::kind::process::ProcessRunner<$operator>, process_part export_process);
    };
    (@ $operator:ty, $runner:ty, $part:ident $export:ident) => {
        impl $crate::Operator for $operator {
            type Runner = $runner;
        }

        // Natively nothing but tests uses the type; this keeps the compiler from calling it dead code.
        #[cfg(not(target_arch = "wasm32"))]
        const _: ::std::option::Option<$operator> = ::std::option::Option::None;

        #[cfg(target_arch = "wasm32")]
        const _: () = {
            ::std::thread_local! {
                static SLOT: ::std::cell::RefCell<::std::option::Option<$runner>> =
                    const { ::std::cell::RefCell::new(::std::option::Option::None) };
            }

            impl $crate::component::Slot for $operator {
                fn slot() -> &'static ::std::thread::LocalKey<::std::cell::RefCell<::std::option::Option<$runner>>> {
                    &SLOT
                }
            }

            type Exported = $crate::component::Exported<$operator>;
            $crate::component::lifecycle_part::export_lifecycle!(Exported with_types_in $crate::component::lifecycle_part);
            $crate::component::$part::$export!(Exported with_types_in $crate::component::$part);
        };
    };
}
