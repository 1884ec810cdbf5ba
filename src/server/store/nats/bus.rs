pub(in crate::server) struct NatsBus;
impl NatsBus {
    pub(super) fn new(_: std::sync::Arc<super::Shared>) -> Self {
        Self
    }
}
